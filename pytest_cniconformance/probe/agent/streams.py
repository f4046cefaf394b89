# SPDX-License-Identifier: Apache-2.0
"""The server's side of a stream. A port speaks three tongues, told apart by the first byte of a request.

``{`` starts the JSON line protocol: a request line ``{n: nonce, l: payload bytes (-1: until end of stream), e: echo,
h: hash, g: bytes to give, q: close afterwards}`` and its payload are answered by a line ``{n, i: identity, o: own
port, p: peer address, b: bytes seen, h: sha256}``, then the echo or the gift. ``=`` starts a line that is sent back as
it came, for round trips without the cost of JSON. Anything else is HTTP/1.1.
"""

from __future__ import annotations

import json
import socket

from .channel import Channel, Silence
from .loop import now
from .wire import answer, pattern, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .port import Port

ECHO_LIMIT = 16 << 20
PATIENCE = 900  # seconds for one request and its answer


class Conversation:
    """One accepted connection."""

    __slots__ = ("channel", "peer", "port")

    def __init__(self, port: Port, sock: socket.socket, peer: str) -> None:
        self.port, self.peer = port, peer
        self.channel = Channel(port.loop, sock)

    async def run(self) -> None:
        """Answer requests until either side has had enough."""
        channel = self.channel
        try:
            if self.port.protocol == "TCP":
                channel.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            go_on = True
            while go_on:
                idle = now() + PATIENCE
                if not channel.buffer and not await channel.more(idle):
                    return
                first = channel.buffer[:1]
                if first == b"=":
                    line = await channel.until(b"\n", idle)
                    if line is None:
                        return
                    self.port.counter["requests"] += 1
                    await channel.send(line, idle)
                elif first == b"{":
                    go_on = await self._line(idle)
                else:
                    go_on = await self._http(idle)
        except (OSError, ValueError, KeyError, TypeError, Silence):
            pass  # the peer's business: it went away, or it spoke nonsense
        finally:
            channel.sock.close()

    async def _line(self, idle: float) -> bool:
        channel = self.channel
        line = await channel.until(b"\n", idle)
        if line is None:
            return False
        request = json.loads(line)
        self.port.saw(self.peer, request.get("n"))
        length, digest, payload, size = request.get("l", 0), "", b"", 0
        if length and request.get("e"):
            if not 0 < length <= ECHO_LIMIT:
                return False
            received = await channel.exactly(length, idle)
            if received is None:
                return False
            payload, size = received, length
            digest = sha256(payload) if request.get("h") else ""
        elif length:
            size, digest = await self._swallow(length, request.get("h"), idle)
        self.port.counter["bytes"] += size
        line = answer(request.get("n"), self.port.identity, self.port.number, self.peer, size, digest)
        await channel.send(line + payload, idle)
        gift = request.get("g", 0)
        block = pattern(min(gift, 262144))
        while gift > 0:
            await channel.send(block[: min(gift, len(block))], idle)
            gift -= len(block)
        return length >= 0 and not request.get("q")

    async def _swallow(self, length: int, hashed: Any, idle: float) -> tuple[int, str]:
        channel, size, hasher = self.channel, 0, None
        if hashed:
            import hashlib  # pulls in OpenSSL: not at start-up

            hasher = hashlib.sha256()
        while length < 0 or size < length:
            if not channel.buffer and not await channel.more(idle):
                break
            data, channel.buffer = channel.buffer, b""
            if 0 <= length < size + len(data):
                data, channel.buffer = data[: length - size], data[length - size :]
            size += len(data)
            if hasher is not None:
                hasher.update(data)
        return size, hasher.hexdigest() if hasher is not None else ""

    async def _http(self, idle: float) -> bool:
        channel, identity = self.channel, self.port.identity
        if not b"A" <= channel.buffer[:1] <= b"Z":
            return False
        head = await channel.until(b"\r\n\r\n", idle)
        if head is None:
            return False
        start, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, version = start.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.port.saw(self.peer, headers.get("cni-nonce"), "HTTP")
        if headers.get("expect", "").lower() == "100-continue":
            await channel.send(b"HTTP/1.1 100 Continue\r\n\r\n", idle)
        size = await self._body(headers, idle)
        if size is None:
            return False
        self.port.counter["bytes"] += size
        said = {"method": method, "path": path, "headers": headers, "peer": self.peer, "body_bytes": size}
        body = json.dumps({"responder": identity, **said}).encode()
        keep = headers.get("connection", "").lower() != "close" and version != "HTTP/1.0"
        fields = {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            "cni-responder": identity,
            "cni-nonce": headers.get("cni-nonce", ""),
            "cni-peer": self.peer,
            "Connection": "keep-alive" if keep else "close",
        }
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields.items())]
        reply = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        await channel.send(reply if method == "HEAD" else reply + body, idle)
        return keep

    async def _body(self, headers: dict[str, str], idle: float) -> int | None:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(headers.get("content-length", 0))
            return None if await self.channel.exactly(size, idle) is None else size
        total = 0
        while True:
            line = await self.channel.until(b"\r\n", idle)
            if line is None:
                return None
            size = int(line.split(b";")[0], 16)
            if await self.channel.exactly(size + 2, idle) is None:
                return None
            if size == 0:
                return total
            total += size
