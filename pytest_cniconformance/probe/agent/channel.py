# SPDX-License-Identifier: Apache-2.0
"""Connecting, and whole lines and payloads, on a non-blocking socket."""

from __future__ import annotations

import errno
import socket

from .loop import READ, WRITE, Loop


class Silence(Exception):
    """Nothing came before the deadline."""


async def connect(loop: Loop, sock: socket.socket, address: tuple[str, int], deadline: float) -> int:
    """Connect a non-blocking socket; return the errno, 0 for success. Raises Silence at the deadline."""
    return await connected(loop, sock, sock.connect_ex(address), deadline)


async def connected(loop: Loop, sock: socket.socket, number: int, deadline: float) -> int:
    """Wait for the end of a connect that returned ``number``; return its errno. Raises Silence at the deadline."""
    if number == errno.EINPROGRESS:
        if not await loop.io(sock, WRITE, deadline):
            raise Silence
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return number


class Channel:
    """A non-blocking stream socket with a read buffer."""

    __slots__ = ("buffer", "loop", "sock")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.loop, self.sock, self.buffer = loop, sock, b""

    async def more(self, deadline: float | None) -> bool:
        """Read what there is into the buffer; False at the end of the stream."""
        while True:
            try:
                data = self.sock.recv(262144)
                self.buffer += data
                return bool(data)
            except BlockingIOError:
                if not await self.loop.io(self.sock, READ, deadline):
                    raise Silence from None

    async def until(self, mark: bytes, deadline: float | None) -> bytes | None:
        """Return what stands before the mark, mark included; None when the stream ends first."""
        while mark not in self.buffer:
            if len(self.buffer) > 262144 or not await self.more(deadline):
                return None
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    async def exactly(self, size: int, deadline: float | None) -> bytes | None:
        """Return this many bytes; None when the stream ends first."""
        if size > len(self.buffer):
            parts, have = [self.buffer], len(self.buffer)
            while have < size:
                self.buffer = b""
                if not await self.more(deadline):
                    return None
                parts.append(self.buffer)
                have += len(self.buffer)
            self.buffer = b"".join(parts)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def send(self, data: bytes, deadline: float | None) -> None:
        """Send all of the data."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                if not await self.loop.io(self.sock, WRITE, deadline):
                    raise Silence from None
