# SPDX-License-Identifier: Apache-2.0
"""What the kubelet asks the zygote to run; plain JSON types, because it crosses a socket."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Mount(TypedDict):
    """A bind mount into a container; both paths absolute, the source in the daemon's view."""

    source: str
    target: str
    readonly: bool


class Sandbox(TypedDict):
    """Everything that makes a process a container."""

    hostname: str
    mounts: list[Mount]
    uid: int | None
    gid: int | None
    groups: list[int]
    capabilities: list[int] | None
    """Capabilities to keep; None keeps all (privileged)."""
    no_new_privs: bool
    readonly_root: bool
    sysctls: dict[str, str]


class Process(TypedDict):
    """One program to run. Without ``sandbox`` and ``join`` it runs in the daemon's own world."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    netns: str | None
    """Name below /run/netns, or a path; None keeps the daemon's network namespace."""
    sandbox: NotRequired[Sandbox | None]
    join: NotRequired[int | None]
    """Run inside the container whose first process has this pid (exec)."""
