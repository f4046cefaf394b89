# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGKILL at any moment leave no process, namespace, link, mount or file behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.running import Lab


def machine() -> dict[str, set[str]]:
    """Return what a lab could leave: links and namespaces, mounts, processes of ours, temporary directories."""
    links = {line.split(":")[1].strip() for line in _out("ip", "-o", "link").splitlines()}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()}
    processes = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            any(b"cniconformance" in word and b"pytest-of" not in word for word in words)
            and b"pytest" not in words
        ):
            processes.add(path.parent.name)
    return {
        "links": links,
        "namespaces": set(_out("ip", "netns").split()),
        "mounts": mounts,
        "processes": processes - {str(os.getpid())},
    }


def _out(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_left(number: signal.Signals, seed: int, lab: Lab, tmp_path: Path) -> None:
    before = machine()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cni=calico", "--cni-cluster=lab"]
        + (["-n2"] if seed == 2 else []),
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    delay = random.Random(f"{number}{seed}").uniform(0.3, 8.0)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    process.wait(60)
    deadline = time.monotonic() + 20
    while (after := machine()) != before and time.monotonic() < deadline:
        os.sched_yield()
    left = {kind: after[kind] - before[kind] for kind in before if after[kind] - before[kind]}
    assert not left, f"{number.name} after {delay:.1f} s left {left}"
    if number != signal.SIGKILL:
        assert not list(temporary.glob("cniconformance-*"))
