# SPDX-License-Identifier: Apache-2.0
"""What a freshly forked child does to become a container process; it ends in exec or in an error report."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, NoReturn

from . import rootfs, syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import Process, Sandbox

_NEW = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
_JOIN = _NEW | syscalls.CLONE_NEWNET
# What containerd sets by default, so that pods may bind port 80 and ping without privileges.
_DEFAULT_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


class StartFailure(Exception):
    """The program could not be started; ``kind`` says at which stage."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def become(process: Process, stdio: Sequence[int], pidfd: int | None, rootless: bool) -> NoReturn:
    """Turn the calling child into ``process``. Raises StartFailure; never returns."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for target, fd in enumerate(stdio):
        os.dup2(fd, target, inheritable=True)
    sandbox = process.get("sandbox")
    try:
        if pidfd is not None:
            syscalls.setns(pidfd, _JOIN)
        else:
            if process["netns"]:
                syscalls.enter_netns(process["netns"])
            if sandbox is not None:
                _isolate(sandbox, rootless)
        os.umask(0o022)
    except OSError as error:
        raise StartFailure("create", f"{error.strerror}: {error.filename or 'namespaces'}") from error
    try:
        os.chdir(process["cwd"])
    except OSError as error:
        text = f"cannot use working directory {process['cwd']}: {error.strerror}"
        raise StartFailure("create", text) from error
    if sandbox is not None:
        _drop(sandbox, rootless)
    _exec(process["argv"], process["env"])


def _isolate(sandbox: Sandbox, rootless: bool) -> None:
    syscalls.unshare(_NEW)
    syscalls.sethostname(sandbox["hostname"])
    for name, value in {**_DEFAULT_SYSCTLS, **sandbox["sysctls"]}.items():
        # A rootless lab maps one group only, which every process is in, whatever group the pod names.
        ping = rootless and name == "net.ipv4.ping_group_range"
        _write_sysctl(name, "0 0" if ping else value)
    rootfs.build_root(sandbox["mounts"], readonly=sandbox["readonly_root"])


def _write_sysctl(name: str, value: str) -> None:
    path = "/proc/sys/" + name.replace(".", "/")
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _drop(sandbox: Sandbox, rootless: bool) -> None:
    keep = sandbox["capabilities"]
    if keep is not None:
        syscalls.drop_capabilities(frozenset(keep))
    if not rootless:  # a rootless lab maps one uid only; everything in it is that user
        os.setgroups(sandbox["groups"])
        if sandbox["gid"] is not None:
            os.setgid(sandbox["gid"])
        if sandbox["uid"] is not None:
            os.setuid(sandbox["uid"])
    if sandbox["no_new_privs"]:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _exec(argv: list[str], env: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        name = argv[0]
        if error.errno == errno.ENOENT and "/" not in name:
            text = f'exec: "{name}": executable file not found in $PATH'
        else:
            text = f'exec: "{name}": {error.strerror.lower() if error.strerror else "failed"}'
            if "/" in name:
                text = f'exec: "{name}": stat {name}: {(error.strerror or "").lower()}'
        raise StartFailure("exec", text) from error
