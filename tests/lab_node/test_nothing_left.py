# SPDX-License-Identifier: Apache-2.0
"""However a lab ends, nothing of it stays."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_cniconformance.lab.cluster import LabCluster
from pytest_cniconformance.lab.errors import LabError
from tests.lab_node.residue import Residue, assert_same, on_own_machine

pytestmark = pytest.mark.skipif(
    shutil.which("ip") is None or shutil.which("nft") is None, reason="needs the programs ip and nft"
)

_OWNER = """
import sys, time
from pathlib import Path
from pytest_cniconformance.lab.cluster import LabCluster
lab = LabCluster.start(profile="flannel", nodes=2, directory=Path(sys.argv[1]))
print("up", flush=True)
time.sleep(60)
"""


def _owner(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _OWNER, str(directory)], stdout=subprocess.PIPE)


def _up(owner: subprocess.Popen[bytes]) -> None:
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    def check() -> None:
        before = Residue.take()
        with LabCluster.start(profile="calico", nodes=2, directory=tmp_path) as lab:
            assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600
            assert sorted(entry.name for entry in tmp_path.iterdir()) == ["kubeconfig", "lab.log"]
        assert not lab.running
        lab.stop()
        assert_same(before)
        assert list(tmp_path.iterdir()) == []

    on_own_machine(check)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_the_end_of_the_owner_ends_the_lab(tmp_path: Path, number: signal.Signals) -> None:
    def check() -> None:
        before = Residue.take()
        with _owner(tmp_path) as owner:
            _up(owner)
            owner.send_signal(number)
        assert_same(before)
        assert list(tmp_path.iterdir()) == []

    on_own_machine(check)


@pytest.mark.parametrize("seed", range(8))
def test_killing_the_owner_at_a_random_moment_of_the_start(tmp_path: Path, seed: int) -> None:
    def check() -> None:
        before = Residue.take()
        with _owner(tmp_path) as owner:
            time.sleep(random.Random(seed).uniform(0.05, 1.5))
            owner.kill()
        assert_same(before)
        assert not (tmp_path / "kubeconfig").exists()

    on_own_machine(check)


@pytest.mark.parametrize("seed", range(3))
def test_killing_the_supervisor_takes_everything_along(tmp_path: Path, seed: int) -> None:
    def check() -> None:
        before = Residue.take()
        with LabCluster.start(profile="calico", nodes=2, directory=tmp_path) as lab:
            time.sleep(random.Random(seed).uniform(0, 0.2))
            lab._process.kill()
            lab._process.wait()
            assert_same(before)

    on_own_machine(check)


def test_ctrl_c_on_the_command_line_ends_it_in_order(tmp_path: Path) -> None:
    def check() -> None:
        before = Residue.take()
        program = str(Path(sys.executable).with_name("cniconformance"))
        argv = [program, "lab", "up", "--profile=flannel", "--nodes=1"]
        with subprocess.Popen([*argv, "--directory", str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            line = process.stdout.readline().decode().strip()
            assert line == f"export KUBECONFIG={tmp_path / 'kubeconfig'}"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        assert_same(before)

    on_own_machine(check)


def test_a_start_that_fails_is_one_clear_message_and_leaves_nothing(tmp_path: Path) -> None:
    def check() -> None:
        before = Residue.take()
        with pytest.raises(LabError, match="did you mean"):
            LabCluster.start(profile="calico", faults=["except-ignord"], directory=tmp_path)
        with pytest.raises(LabError, match="it emulates flannel, calico, cilium"):
            LabCluster.start(profile="weave", directory=tmp_path)
        with pytest.raises(LabError, match="not ready after"):
            LabCluster.start(profile="flannel", directory=tmp_path, timeout=0.1)
        assert_same(before)

    on_own_machine(check)
