# SPDX-License-Identifier: Apache-2.0
"""Process 1 of a lab: one event loop with the API server, the controllers, the dataplane and every kubelet."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.assembly import Assembly
from pytest_cniconformance.lab.errors import LabError
from pytest_cniconformance.lab.node.runner import ZygoteRunner
from pytest_cniconformance.lab.statuspipe import report

if TYPE_CHECKING:
    import socket


def serve(
    request: dict[str, Any], listener: socket.socket, zygote: socket.socket, directory: int, *, rootless: bool
) -> None:
    """Run the lab until its owner has gone. Raises LabError when it cannot start or go on."""
    os.umask(0o022)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_serve(request, listener, zygote, directory, rootless))


async def _serve(
    request: dict[str, Any], listener: socket.socket, zygote: socket.socket, directory: int, rootless: bool
) -> None:
    loop = asyncio.get_running_loop()
    # Second line of defence behind the supervisor; as process 1, leaving takes everything along.
    loop.add_reader(request["alive_fd"], os._exit, 0)
    loop.add_signal_handler(signal.SIGCHLD, _reap)
    failed: asyncio.Future[str] = loop.create_future()

    def fail(reason: str) -> None:
        if not failed.done():
            failed.set_result(reason)

    runner = ZygoteRunner(zygote, on_death=fail)
    lab = Assembly(request, runner, listener, rootless=rootless)
    starting = asyncio.ensure_future(lab.start(lambda stage: report(request["status_fd"], {"stage": stage})))
    await _unless_failed(starting, failed)
    write_private(directory, "kubeconfig", lab.kubeconfig())
    report(request["status_fd"], {"ready": lab.description()})
    await _unless_failed(asyncio.ensure_future(lab.run()), failed)


async def _unless_failed(work: asyncio.Future[None], failed: asyncio.Future[str]) -> None:
    """Wait for ``work``, or raise LabError as soon as ``failed`` has a reason."""
    waiting: list[asyncio.Future[Any]] = [work, failed]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        raise LabError(failed.result())
    work.result()


def write_private(directory: int, name: str, text: str) -> None:
    """Put a file of mode 0600 into the directory open as ``directory``, all of it or nothing."""
    temporary = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _reap() -> None:
    """Collect orphans, which the kernel hands to process 1."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
