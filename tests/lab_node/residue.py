# SPDX-License-Identifier: Apache-2.0
"""What a lab could leave on a machine: processes in other PID namespaces, links, named namespaces, mounts."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_DEADLINE = 10.0


@dataclass(frozen=True)
class Residue:
    """A picture of the machine; two of them must be equal."""

    foreign_processes: frozenset[str]
    supervisors: frozenset[str]
    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]

    @classmethod
    def take(cls) -> Residue:
        own = os.readlink("/proc/self/ns/pid")
        foreign, supervisors = set(), set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if os.readlink(entry / "ns/pid") != own:
                    foreign.add(entry.name)
                if b"lab.supervisor" in (entry / "cmdline").read_bytes():
                    supervisors.add(entry.name)
            except OSError:
                continue  # ended meanwhile, or not ours to look at
        links = {Path("/sys/class/net", name).name for name in os.listdir("/sys/class/net")}
        named = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=False).stdout.split(
            "\n"
        )
        mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        return cls(*map(frozenset, (foreign, supervisors, links, named, mounts)))


def assert_same(before: Residue) -> None:
    """Wait until the machine looks as before; fail with the difference if it does not get there."""
    deadline = time.monotonic() + _DEADLINE
    while (now := Residue.take()) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    for name in ("foreign_processes", "supervisors", "links", "namespaces", "mounts"):
        assert getattr(now, name) <= getattr(before, name), f"the lab left {name}"
