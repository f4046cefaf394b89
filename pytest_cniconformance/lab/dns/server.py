# SPDX-License-Identifier: Apache-2.0
"""The sockets: DNS over UDP and TCP on one port, health and readiness over HTTP."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from pytest_cniconformance.lab.dns.responder import Responder
from pytest_cniconformance.lab.dns.upstream import Address, read_message

_IDLE_SECONDS = 10.0
_BIND_ATTEMPTS = 20


class Listeners:
    """Binds at once; serves from threads until :meth:`close`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def dns(self, address: Address, responder: Responder, *, tcp_broken: bool = False) -> Address:
        """Serve DNS over UDP and TCP on an address; port 0 takes a free one. Return where.

        Raises:
            OSError: the address cannot be had.
        """
        udp, tcp = _pair(address)
        self._sockets += [udp, tcp]
        self._start(self._serve_udp, udp, responder)

        def handle(connection: socket.socket, client: str) -> None:
            # Broken: an open port that hangs up without a word, as without DNS over TCP behind it.
            if not tcp_broken:
                _serve_tcp(connection, client, responder)

        self._start(self._accept, tcp, handle)
        return _address_of(udp)

    def http(self, address: Address, path: str, good: Callable[[], bool]) -> Address:
        """Serve one path: 200 while ``good``, 503 otherwise. Return where."""
        sock = _bound(address, socket.SOCK_STREAM)
        sock.listen(16)
        self._sockets.append(sock)
        self._start(self._accept, sock, lambda connection, _: _serve_http(connection, path, good))
        return _address_of(sock)

    def close(self) -> None:
        """Close every socket; the threads end."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            try:
                # close() alone does not wake a thread that is blocked on the socket.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _serve_udp(self, sock: socket.socket, responder: Responder) -> None:
        while True:
            try:
                query, client = sock.recvfrom(65535)
            except OSError:
                if not self._sockets:
                    return
                continue  # an ICMP error of an earlier reply, which means nothing to us
            if not self._sockets:
                return
            reply = responder.quick(query, _plain(client[0]), client[1])
            if callable(reply):
                self._start(_send_later, sock, reply, client)
            else:
                _send(sock, reply, client)

    def _accept(self, sock: socket.socket, handle: Callable[[socket.socket, str], None]) -> None:
        while self._sockets:
            try:
                connection, client = sock.accept()
            except OSError:
                if not self._sockets:
                    return
                continue  # the client has already gone
            self._start(_with, connection, _plain(client[0]), handle)


def _serve_tcp(connection: socket.socket, client: str, responder: Responder) -> None:
    while (query := read_message(connection)) is not None:
        reply = responder.answer(query, client, tcp=True)
        if reply is None:
            return
        connection.sendall(struct.pack("!H", len(reply)) + reply)


def _with(connection: socket.socket, client: str, handle: Callable[[socket.socket, str], None]) -> None:
    with connection:
        connection.settimeout(_IDLE_SECONDS)
        try:
            handle(connection, client)
        except OSError:
            pass  # the client went away, or said nothing for too long


def _serve_http(connection: socket.socket, path: str, good: Callable[[], bool]) -> None:
    request = connection.recv(4096).split(b" ", 2)
    asked = request[1].split(b"?")[0].decode("latin-1") if len(request) == 3 else ""
    status, body = ("404 Not Found", "not found") if asked != path else ("200 OK", "OK")
    if asked == path and not good():
        status, body = "503 Service Unavailable", "not ready"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    connection.sendall(f"{head}\r\n{body}".encode())


def _send(sock: socket.socket, reply: bytes | None, client: Address) -> None:
    if reply is not None:
        try:
            sock.sendto(reply, client)
        except OSError:
            pass  # nobody is there any more


def _send_later(sock: socket.socket, work: Callable[[], bytes | None], client: Address) -> None:
    _send(sock, work(), client)


def _plain(address: str) -> str:
    """Return the IPv4 address of a client that a dual-stack socket shows as ``::ffff:…``."""
    return address.removeprefix("::ffff:")


def _pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """Bind UDP and TCP to the same port, which is not certain to be free for both when it is 0."""
    for attempt in range(_BIND_ATTEMPTS):
        udp = _bound(address, socket.SOCK_DGRAM)
        try:
            tcp = _bound((address[0], _address_of(udp)[1]), socket.SOCK_STREAM)
            tcp.listen(64)
        except OSError:
            udp.close()
            if address[1] or attempt == _BIND_ATTEMPTS - 1:
                raise
            continue
        return udp, tcp
    raise AssertionError("unreachable")


def _bound(address: Address, kind: socket.SocketKind) -> socket.socket:
    host, port = address
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _bind(family, kind, host, port)
    try:
        return _bind(socket.AF_INET6, kind, "::", port)  # IPv4 as well
    except OSError:
        return _bind(socket.AF_INET, kind, "0.0.0.0", port)


def _bind(family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _address_of(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return str(host), int(port)
