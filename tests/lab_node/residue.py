# SPDX-License-Identifier: Apache-2.0
"""A machine of one's own for a test that looks for what a lab leaves behind.

Other tests may run labs at the same time, so the test body runs in fresh PID, mount and network namespaces:
whatever process, link or mount it finds there in the end comes from its own lab.
"""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_cniconformance.lab.node import syscalls

_DEADLINE = 10.0


@dataclass(frozen=True)
class Residue:
    """A picture of the machine."""

    processes: frozenset[str]
    links: frozenset[str]
    named_namespaces: frozenset[str]
    mounts: frozenset[str]

    @classmethod
    def take(cls) -> Residue:
        """Look around."""
        processes = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    processes.add(f"{entry.name} {(entry / 'cmdline').read_bytes()[:80]!r}")
        links = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
        named = {entry.name for entry in Path("/run").glob("netns/*")}
        mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        return cls(*map(frozenset, (processes, links, named, mounts)))


def assert_same(before: Residue) -> None:
    """Wait until the machine looks as before; fail with the difference if it does not get there."""
    deadline = time.monotonic() + _DEADLINE
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # orphans come to this process, the first of its namespace
                pass
        left = now_left(before)
        if not left:
            return
        assert time.monotonic() < deadline, f"the lab left {left}"
        time.sleep(0.02)


def now_left(before: Residue) -> list[str]:
    """Return what is there now and was not before."""
    now = Residue.take()
    names = ("processes", "links", "named_namespaces", "mounts")
    return sorted(f"{name}: {one}" for name in names for one in getattr(now, name) - getattr(before, name))


def on_own_machine(test: Callable[[], None]) -> None:
    """Run ``test`` in fresh namespaces; skip where they cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces to look into")
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking a process with threads; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        outer = os.fork()
    if outer == 0:
        os.close(read)
        failure = b""
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET)
            inner = os.fork()
            if inner == 0:
                _inside(test, write)
            os.waitpid(inner, 0)
        except BaseException:
            failure = traceback.format_exc().encode()
        finally:
            os.write(write, failure)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(outer, 0)
    if said != "ok":
        pytest.fail(said or "the test's process died", pytrace=False)


def _inside(test: Callable[[], None], report: int) -> None:
    said = "ok"
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.make_private()
        syscalls.mount("proc", "/proc", "proc")
        syscalls.mount("run", "/run", "tmpfs", 0, "mode=755")
        assert os.system("PATH=$PATH:/usr/sbin:/sbin ip link set lo up") == 0
        test()
    except BaseException:
        said = traceback.format_exc()
    finally:
        os.write(report, said.encode())
        os._exit(0)
