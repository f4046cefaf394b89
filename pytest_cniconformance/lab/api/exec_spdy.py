# SPDX-License-Identifier: Apache-2.0
"""Exec over SPDY/3.1: how kubectl before 1.31 runs commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from aiohttp import web

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.exec_websocket import end_tasks, run_command
from pytest_cniconformance.lab.api.objects import encode
from pytest_cniconformance.lab.api.spdy import FIN, GOAWAY, PING, RST_STREAM, SYN_STREAM, Codec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_cniconformance.lab.api.remote import ExecRequest
    from pytest_cniconformance.lab.api.seams import NodeAgents

PROTOCOL = "v4.channel.k8s.io"  # the newest one for SPDY; v5 came with WebSocket
_STREAMS_SECONDS = 30.0
_CHUNK = 1 << 20  # a frame's length has 24 bits


class _Session(asyncio.Protocol):
    """One upgraded connection: the streams that the client opens, by their type."""

    def __init__(self, original: asyncio.Protocol, wanted: frozenset[str]) -> None:
        self._original = original
        self._wanted = wanted
        self._codec = Codec()
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.streams: dict[str, int] = {}
        self.stdin = asyncio.StreamReader()
        self.opened = asyncio.Event()
        self.lost = asyncio.Event()

    def take_over(self, transport: asyncio.Transport) -> None:
        """Read and write this transport from now on."""
        self._transport = transport
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        for frame in self._codec.feed(data):
            if frame.kind == SYN_STREAM:
                kind = next((v for k, v in frame.headers.items() if k.lower() == "streamtype"), "")
                self.streams[kind] = frame.stream
                self.write(self._codec.reply(frame.stream))
                if self._wanted <= self.streams.keys():
                    self.opened.set()
            elif frame.kind == 0 and frame.stream == self.streams.get("stdin"):
                self.stdin.feed_data(frame.data)
            elif frame.kind == PING:
                self.write(self._codec.pong(frame.data))
            elif frame.kind == GOAWAY and self._transport is not None:
                self._transport.close()
            if frame.stream == self.streams.get("stdin") and (frame.flags & FIN or frame.kind == RST_STREAM):
                self.stdin.feed_eof()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._room.set()
        self._original.connection_lost(exc)

    def write(self, data: bytes) -> None:
        """Send bytes unless the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def writer(self, kind: str) -> Callable[[bytes], Awaitable[None]]:
        """Return the function that sends output on a stream."""

        async def send(data: bytes) -> None:
            for start in range(0, len(data), _CHUNK):
                self.write(self._codec.data(self.streams[kind], data[start : start + _CHUNK]))
            await self._room.wait()

        return send

    def finish(self, status: bytes) -> None:
        """Send the final Status and end all streams."""
        self.write(self._codec.data(self.streams["error"], status))
        for stream in self.streams.values():
            self.write(self._codec.data(stream, b"", last=True))


async def exec_spdy(request: web.Request, asked: ExecRequest, agents: NodeAgents) -> web.StreamResponse:
    """Run a command, its streams carried over SPDY; the command dies with the connection."""
    offered = [
        one.strip()
        for line in request.headers.getall("X-Stream-Protocol-Version", [])
        for one in line.split(",")
    ]
    if PROTOCOL not in offered:
        raise errors.ApiError(
            403, "Forbidden", f"unable to upgrade: unable to negotiate protocol, client: {offered}"
        )
    transport = cast("asyncio.Transport", request.transport)
    wanted = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(asked, name)}
    session = _Session(cast("asyncio.Protocol", request.protocol), frozenset(wanted))
    session.take_over(transport)
    session.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        b"X-Stream-Protocol-Version: " + PROTOCOL.encode() + b"\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_STREAMS_SECONDS):
            await session.opened.wait()
        command = asyncio.create_task(
            run_command(agents, asked, session.stdin, session.writer("stdout"), session.writer("stderr"))
        )
        leaving = asyncio.create_task(session.lost.wait())
        try:
            await asyncio.wait({command, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if command.done():
                session.finish(encode(command.result()))
        finally:
            await end_tasks(command, leaving)
    except TimeoutError:
        pass  # the client never opened its streams
    finally:
        transport.close()
    return web.Response()  # the connection is closed: nothing of this is sent
