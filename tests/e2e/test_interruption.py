# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGKILL at any moment leave no process, namespace, link, mount or file behind.

All that a lab makes lives in PID, network and mount namespaces of its own. When no process is left in its PID
namespaces, the kernel has taken the links and mounts with them; so the test follows processes and namespaces.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.running import Lab


class Watch:
    """Follows the processes that carry a mark in their environment, and the namespaces that they live in."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._own = str(Path("/proc/self/ns/pid").readlink())
        self._spaces: set[str] = set()

    def look(self) -> set[str]:
        """Return the processes of the run, and remember the PID namespaces that it made."""
        marked: set[str] = set()
        by_space: dict[str, set[str]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                space = str((path / "ns/pid").readlink())
                by_space.setdefault(space, set()).add(path.name)
                if self._mark in (path / "environ").read_bytes():
                    marked.add(path.name)
                    children = str((path / "ns/pid_for_children").readlink())
                    self._spaces |= {space, children} - {self._own}
            except OSError:
                continue
        return marked.union(*(by_space.get(space, set()) for space in self._spaces))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_left(number: signal.Signals, seed: int, lab: Lab, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    mark = f"CNI_INTERRUPTION_TEST={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cni=calico", "--cni-cluster=lab"]
        + (["-n2"] if seed == 2 else []),
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary), name: value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    watch = Watch(mark)
    moment = time.monotonic() + random.Random(f"{number}{seed}").uniform(0.3, 10.0)
    seen: set[str] = set()
    while time.monotonic() < moment and process.poll() is None:
        seen |= watch.look()
    assert process.poll() is None and seen, "the run ended before the signal"
    process.send_signal(number)
    process.wait(60)
    deadline = time.monotonic() + 20
    while (left := watch.look()) and time.monotonic() < deadline:
        os.sched_yield()
    assert not left, f"{number.name} left processes {left}"
    if number != signal.SIGKILL:
        assert not list(temporary.glob("cniconformance-*"))
