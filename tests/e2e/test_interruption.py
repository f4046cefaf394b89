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
from typing import Self

import pytest

from tests.e2e.running import Lab


class Watch:
    """Follows the processes that carry a mark in their environment, and the PID namespaces that they live in.

    The namespaces are held open: the kernel gives the number of one that has gone to the next that is made,
    which may be that of another test's lab.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._own = Path("/proc/self/ns/pid").stat().st_ino
        self._held: dict[int, int] = {}

    def look(self) -> set[str]:
        """Return the processes of the run, and remember the PID namespaces that it made."""
        marked: set[str] = set()
        by_space: dict[int, set[str]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                by_space.setdefault((path / "ns/pid").stat().st_ino, set()).add(path.name)
                if self._mark in (path / "environ").read_bytes():
                    marked.add(path.name)
                    self._hold(path / "ns/pid")
                    self._hold(path / "ns/pid_for_children")
            except OSError:
                continue
        return marked.union(*(by_space.get(space, set()) for space in self._held))

    def _hold(self, path: Path) -> None:
        space = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        number = os.fstat(space).st_ino
        if number == self._own or number in self._held:
            os.close(space)
        else:
            self._held[number] = space

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for space in self._held.values():
            os.close(space)


def told(number: str) -> str:
    """Return what a reader needs to know of a process that should be gone."""
    try:
        return f"{number}: {(Path('/proc') / number / 'cmdline').read_text().replace(chr(0), ' ')}"
    except OSError:
        return f"{number}: gone meanwhile"


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
        # Who starts these tests in the background of a shell hands down that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    moment = time.monotonic() + random.Random(f"{number}{seed}").uniform(0.3, 10.0)
    seen: set[str] = set()
    with Watch(mark) as watch:
        while time.monotonic() < moment and process.poll() is None:
            seen |= watch.look()
        assert process.poll() is None and seen, "the run ended before the signal"
        process.send_signal(number)
        process.wait(60)
        deadline = time.monotonic() + 20
        while (left := watch.look()) and time.monotonic() < deadline:
            os.sched_yield()
        assert not left, f"{number.name} left {[told(process) for process in left]}"
    if number != signal.SIGKILL:
        assert not list(temporary.glob("cniconformance-*"))
