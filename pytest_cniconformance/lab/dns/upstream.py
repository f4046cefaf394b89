# SPDX-License-Identifier: Apache-2.0
"""Asking other servers for names that are not the cluster's."""

from __future__ import annotations

import socket
import struct
import time

Address = tuple[str, int]


def host_port(text: str, default: int) -> Address:
    """Read ``host``, ``host:port`` or ``[v6]:port``; an empty host stands for all addresses.

    Raises:
        ValueError: the port is no number.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    return host, int(port) if port else default


class Upstream:
    """Forwards queries as they are, to the first server that answers; stub zones to a server of their own."""

    def __init__(
        self, servers: list[Address], stubs: dict[str, Address] | None = None, *, timeout: float = 2.0
    ) -> None:
        self._servers = servers
        self._stubs = stubs or {}
        self._timeout = timeout

    def _servers_of(self, name: str) -> list[Address]:
        plain = "." + name.lower()
        zones = [zone for zone in self._stubs if plain.endswith("." + zone)]
        return [self._stubs[max(zones, key=len)]] if zones else self._servers

    def exchange(self, name: str, query: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply, None if no server of the name gives one within the timeout (seconds, each)."""
        for server in self._servers_of(name):
            try:
                reply = self._over_tcp(server, query) if tcp else self._over_udp(server, query)
            except OSError:
                continue
            if reply is not None:
                return reply
        return None

    def _over_udp(self, server: Address, query: bytes) -> bytes | None:
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        deadline = time.monotonic() + self._timeout
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(server)
            sock.send(query)
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                reply = sock.recv(65535)
                if reply[:2] == query[:2]:
                    return reply
        return None

    def _over_tcp(self, server: Address, query: bytes) -> bytes | None:
        with socket.create_connection(server, timeout=self._timeout) as sock:
            sock.sendall(struct.pack("!H", len(query)) + query)
            return read_message(sock)


def read_message(sock: socket.socket) -> bytes | None:
    """Read one DNS message with its length in front; None when the other end has closed."""
    head = _exactly(sock, 2)
    return None if head is None else _exactly(sock, struct.unpack("!H", head)[0])


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
