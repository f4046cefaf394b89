# SPDX-License-Identifier: Apache-2.0
"""Exec over WebSocket: the subprotocols v5.channel.k8s.io and v4.channel.k8s.io.

Each message starts with a channel byte: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize. In v5 the client
ends a channel with a message of 255 and the channel's number; in v4 it cannot end stdin.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from pytest_cniconformance.lab.api.objects import encode
from pytest_cniconformance.lab.api.remote import exit_status, failure_status
from pytest_cniconformance.lab.api.seams import ContainerNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.remote import ExecRequest
    from pytest_cniconformance.lab.api.seams import NodeAgents

_log = logging.getLogger(__name__)
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


async def exec_websocket(request: web.Request, asked: ExecRequest, agents: NodeAgents) -> web.StreamResponse:
    """Run a command, its streams carried over a WebSocket; the command dies with the connection."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
    await socket.prepare(request)
    stdin = asyncio.StreamReader()

    def writer(channel: int) -> Callable[[bytes], Awaitable[None]]:
        head = bytes([channel])
        return lambda data: socket.send_bytes(head + data)

    # Like the real server: an empty message tells the client that the connection works.
    await socket.send_bytes(bytes([STDOUT if asked.stdout else ERROR]))
    running = asyncio.create_task(run_command(agents, asked, stdin, writer(STDOUT), writer(STDERR)))
    reading = asyncio.create_task(_read(socket, stdin))
    try:
        await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await socket.send_bytes(bytes([ERROR]) + encode(running.result()))
            await socket.close()
    except ConnectionError:
        pass  # the client left
    finally:
        await end_tasks(running, reading)
    return socket


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for them; each is cancelled once, even when this call is cancelled as well."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks)
    for task in done:
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.debug("%s ended with %r", task.get_name(), failure)


async def run_command(
    agents: NodeAgents,
    asked: ExecRequest,
    stdin: asyncio.StreamReader,
    stdout: Callable[[bytes], Awaitable[None]],
    stderr: Callable[[bytes], Awaitable[None]],
) -> Obj:
    """Run a command on its node and return the Status of its end."""
    try:
        code = await agents.exec(
            asked.pod,
            asked.container,
            asked.argv,
            stdin if asked.stdin else None,
            stdout if asked.stdout else _discard,
            stderr if asked.stderr else (stdout if asked.tty else _discard),
        )
    except ContainerNotFound as failure:
        return failure_status(str(failure))
    except OSError as failure:
        return failure_status(f"error executing command in container: {failure}")
    return exit_status(code)


async def _discard(data: bytes) -> None:
    pass


async def _read(socket: web.WebSocketResponse, stdin: asyncio.StreamReader) -> None:
    """Feed stdin from the client's messages until it closes the connection."""
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
        elif message.type is WSMsgType.TEXT:  # what kubernetes clients before 36 send
            data = message.data.encode()
        else:
            continue
        if not data:
            continue
        if data[0] == STDIN:
            stdin.feed_data(data[1:])
        elif data[0] == CLOSE and data[1:2] == bytes([STDIN]):
            stdin.feed_eof()
