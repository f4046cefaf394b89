# SPDX-License-Identifier: Apache-2.0
"""A server on every port of a pod, which names itself and counts."""

from __future__ import annotations

import collections
import errno
import socket

from .addresses import PROTOCOLS, endpoint
from .datagrams import serve_datagrams
from .loop import READ, Loop, now
from .port import Port
from .streams import Conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Server:
    """Answers on its ports and counts; how it answers is told in ``streams`` and ``datagrams``."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop, self.identity = loop, identity
        self.ports: list[tuple[str, int]] = []
        self.counters: dict[str, dict[str, int]] = {}
        self.recent: collections.deque[list[Any]] = collections.deque(maxlen=512)

    def listen(self, protocol: str, port: int) -> int:
        """Listen on all addresses of all families and return the port (0 picks a free one)."""
        for _ in range(20):
            try:
                sockets = bound_sockets(protocol, port)
                break
            except OSError as error:
                if port == 0 and error.errno == errno.EADDRINUSE:
                    continue  # the port that IPv4 was given is taken on IPv6
                said = f"cannot listen on {protocol} port {port}: {error.strerror}"
                raise OSError(error.errno, said) from error
        else:
            raise OSError(errno.EADDRINUSE, "no port is free on IPv4 and IPv6 at once")
        found = Port(self.loop, self.identity, self.recent, protocol, sockets[0].getsockname()[1])
        self.counters[f"{protocol}/{found.number}"] = found.counter
        self.ports.append((protocol, found.number))
        for sock in sockets:
            serving = serve_datagrams(found, sock) if protocol == "UDP" else self._accept(found, sock)
            self.loop.spawn(serving)
        return found.number

    async def _accept(self, port: Port, listener: socket.socket) -> None:
        while True:
            await self.loop.io(listener, READ, None)
            try:
                while True:
                    sock, address = listener.accept()
                    sock.setblocking(False)
                    port.counter["connections"] += 1
                    self.loop.spawn(Conversation(port, sock, endpoint(address)).run())
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await self.loop.suspend(now() + 0.02)  # until other connections have ended


def bound_sockets(protocol: str, port: int) -> list[socket.socket]:
    """Return a socket for IPv4 and, where the namespace has it, one for IPv6, bound (and listening) on one port."""
    found: list[socket.socket] = []
    try:
        for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            try:
                sock = socket.socket(family, *PROTOCOLS[protocol])
            except OSError:
                if family == socket.AF_INET:
                    raise
                continue  # the kernel has no IPv6
            found.append(sock)
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol != "UDP":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((wildcard, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    found.pop().close()  # IPv6 is switched off in this namespace
                    continue
                raise
            port = sock.getsockname()[1]
            if protocol != "UDP":
                sock.listen(1024)
    except OSError:
        for sock in found:
            sock.close()
        raise
    return found
