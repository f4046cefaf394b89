# SPDX-License-Identifier: Apache-2.0
"""Reading and writing pipe descriptors on the event loop, without transports: a pipe lives for one command."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHUNK = 1 << 16


def nonblocking_pipe(*, ours: str) -> tuple[int, int]:
    """Return (read end, write end); the end named by ``ours`` (``read`` or ``write``) does not block."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read if ours == "read" else write, False)
    return read, write


async def read_fd(fd: int) -> bytes:
    """Return what a descriptor has to say next; ``b""`` at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(fd, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(fd)
        except OSError:
            return b""


async def write_fd(fd: int, data: bytes) -> None:
    """Write all of ``data``; raises BrokenPipeError when nobody reads any more."""
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(fd, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_writer(fd)


async def pump(fd: int, sink: Callable[[bytes], Awaitable[None]]) -> None:
    """Hand everything that arrives on ``fd`` to ``sink``, then close it."""
    try:
        while data := await read_fd(fd):
            await sink(data)
    finally:
        os.close(fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
