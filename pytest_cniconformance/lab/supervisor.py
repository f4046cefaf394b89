# SPDX-License-Identifier: Apache-2.0
"""The process between the owner of a lab and the lab: it makes the namespaces and sees that nothing survives.

It opens the API server's port in the host's network, leaves for new namespaces, and forks the daemon, which is
process 1 of its own PID namespace: when the daemon dies, the kernel kills every process of the lab and then
drops its network namespaces, links and mounts. The daemon dies with the supervisor (parent death signal), and
the supervisor ends when the owner closes the pipe or dies, by whatever means.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from pytest_cniconformance.lab import preflight
from pytest_cniconformance.lab.errors import LabError
from pytest_cniconformance.lab.node import syscalls
from pytest_cniconformance.lab.statuspipe import report

_FILES = ("kubeconfig", "lab.log")
_MINE = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC


def main(argument: str) -> int:
    """Run the lab that the JSON ``argument`` asks for, until its owner has gone."""
    request: dict[str, Any] = json.loads(argument)
    owner = os.pidfd_open(request["parent"])
    try:
        preflight.check_tools()
        _raise_file_limit()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        rootless = os.geteuid() != 0
        _leave(rootless=rootless)
        directory = os.open(request["directory"], os.O_RDONLY | os.O_DIRECTORY)
        daemon = os.fork()
        if daemon == 0:
            _become_daemon(request, listener, directory, rootless=rootless)
    except LabError as error:
        report(request["status_fd"], {"error": str(error)})
        return 1
    report(request["status_fd"], {"daemon": daemon})
    os.close(request["status_fd"])
    listener.close()
    code = _watch(daemon, owner, request["alive_fd"])
    if code is None:
        for name in _FILES:
            Path(request["directory"], name).unlink(missing_ok=True)
        return 0
    (Path(request["directory"]) / "kubeconfig").unlink(missing_ok=True)
    return 1


def _leave(*, rootless: bool) -> None:
    """Move this process, or its children, into namespaces of the lab's own."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(_MINE | (syscalls.CLONE_NEWUSER if rootless else 0))
    except OSError as error:
        raise preflight.explain_namespaces(error) from error
    if rootless:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as error:
            raise preflight.explain_namespaces(error) from error


def _become_daemon(
    request: dict[str, Any], listener: socket.socket, directory: int, *, rootless: bool
) -> NoReturn:
    code = 1
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        # Gaining rights in a user namespace hides a process from its own user, who has to enter the lab.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _mount()
        except OSError as error:
            raise preflight.explain_mount(error) from error
        # Imported here: the zygote is forked inside, before anything heavy is loaded.
        from pytest_cniconformance.lab.node.zygote import fork_zygote

        zygote, _ = fork_zygote(rootless=rootless)
        from pytest_cniconformance.lab.daemon import serve

        serve(request, listener, zygote, directory, rootless=rootless)
        code = 0
    except LabError as error:
        report(request["status_fd"], {"error": str(error)})
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _mount() -> None:
    """Give the lab its own /proc, /run and /sys; nothing of it can be seen from outside."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.make_private()
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.mount("lab", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    for path in ("/run/netns", "/run/lab", "/run/lock"):
        Path(path).mkdir()
    try:
        syscalls.mount("sysfs", "/sys", "sysfs")
    except OSError:
        pass  # the old one stays; nothing here depends on seeing the lab's own devices in /sys
    os.chdir("/")


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _watch(daemon: int, owner: int, alive: int) -> int | None:
    """Wait for the end; return the daemon's exit status, or None when the owner ended the lab."""
    child = os.pidfd_open(daemon)
    told_read, told_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(told_write, b"!"))
    ready, _, _ = select.select([child, owner, alive, told_read], [], [])
    if child not in ready:
        os.kill(daemon, signal.SIGKILL)
    _, status = os.waitpid(daemon, 0)
    return status if child in ready else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
