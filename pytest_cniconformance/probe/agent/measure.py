# SPDX-License-Identifier: Apache-2.0
"""Round trips, transfers and HTTP sessions.

They use blocking sockets in a thread, which cost the least time between packet and clock.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
import time

from .addresses import PROTOCOLS
from .loop import now
from .wire import pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dial(host: str, port: int, protocol: str, wait: float) -> socket.socket:
    """Return a connected blocking socket whose waits end after ``wait`` seconds in the kernel."""
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    family, _, _, _, address = socket.getaddrinfo(host, port, 0, kind)[0]
    sock = socket.socket(family, *PROTOCOLS[protocol])
    try:
        timeval = struct.pack("@ll", int(wait), int(wait % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        if protocol == "TCP":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def read_line(sock: socket.socket) -> bytes:
    """Return one line, newline included."""
    data = b""
    while not data.endswith(b"\n"):
        more = sock.recv(65535)
        if not more:
            raise OSError(errno.ECONNRESET, "closed without an answer")
        data += more
    return data


def measure_rtt(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``n`` round trips in microseconds, None for a loss, on one connection or on fresh ones."""
    host, port, protocol = request["host"], request["port"], request.get("proto", "TCP")
    wait, fresh = request.get("wait", 1000) / 1000.0, request.get("fresh", False)
    body = b"." * max(0, request.get("size", 0))
    samples: list[int | None] = []
    result: dict[str, Any] = {"samples": samples, "responder": "", "error": ""}
    sock: socket.socket | None = None
    try:
        for number in range(request["n"]):
            line = b"=%d %s\n" % (number, body)
            began = time.perf_counter_ns()
            try:
                if sock is None:
                    sock = dial(host, port, protocol, wait)
                    if not fresh:
                        sock.sendall(b'{"n":0}\n')
                        result["responder"] = json.loads(read_line(sock)).get("i", "")
                        began = time.perf_counter_ns()
                sock.sendall(line)
                heard = read_line(sock)
                while heard != line and protocol == "UDP":
                    heard = read_line(sock)  # the late answer to a round trip already counted as lost
                samples.append((time.perf_counter_ns() - began) // 1000)
            except (OSError, ValueError) as error:
                samples.append(None)
                result["error"] = str(error)
                fresh_next = True
            else:
                fresh_next = fresh
            if fresh_next and sock is not None:
                sock.close()
                sock = None
    finally:
        if sock is not None:
            sock.close()
    return result


def measure_stream(request: dict[str, Any]) -> dict[str, Any]:
    """Move ``bytes`` bytes, or as many as fit in ``seconds``, ``up`` or ``down``, and check the hash if asked."""
    import hashlib  # pulls in OpenSSL: not at start-up

    down, seconds = request.get("direction", "up") == "down", request.get("seconds", 0)
    total = request.get("bytes", 0) or (1 << 40 if seconds else 0)
    hasher = hashlib.sha256() if request.get("hash", True) else None
    moved, reply = 0, {}
    block = pattern(262144)
    sock = dial(request["host"], request["port"], "TCP", request.get("wait", 5000) / 1000.0)
    try:
        began = now()
        until = began + seconds if seconds else float("inf")
        header: dict[str, Any] = {"n": 0, "g": total} if down else {"n": 0, "l": -1 if seconds else total}
        if hasher is not None and not down:
            header["h"] = 1
        sock.sendall(json.dumps(header).encode() + b"\n")
        if down:
            data = b""
            while b"\n" not in data:
                data += sock.recv(65536) or b"{}\n"
            line, _, data = data.partition(b"\n")
            reply = json.loads(line)
            while moved < total and now() < until:
                data = data or sock.recv(262144)
                if not data:
                    break
                moved += len(data)
                if hasher is not None:
                    hasher.update(data)
                data = b""
        else:
            while moved < total and now() < until:
                part = block if total - moved >= len(block) else block[: total - moved]
                sock.sendall(part)
                moved += len(part)
                if hasher is not None:
                    hasher.update(part)
            if seconds:
                sock.shutdown(socket.SHUT_WR)
            reply = json.loads(read_line(sock))
        took = now() - began
    finally:
        sock.close()
    intact: bool | None = None
    if hasher is not None and not down:
        intact = reply.get("h") == hasher.hexdigest() and reply.get("b") == moved
    elif hasher is not None and not seconds:
        want = hashlib.sha256()
        for start in range(0, total, len(block)):
            want.update(block[: total - start])
        intact = moved == total and want.hexdigest() == hasher.hexdigest()
    return {"bytes": moved, "seconds": took, "intact": intact, "responder": reply.get("i", "")}


def http_session(request: dict[str, Any]) -> dict[str, Any]:
    """Send requests one after another on one connection; return the status of each, in order, until it ends."""
    host, port = request["host"], request["port"]
    statuses: list[int] = []
    sock = dial(host, port, "TCP", request.get("wait", 3000) / 1000.0)
    name = f"[{host}]" if ":" in host else host
    cause = ""
    try:
        with sock.makefile("rb") as file:
            for method, path in request["requests"]:
                length = "Content-Length: 0\r\n" if method in ("POST", "PUT", "PATCH") else ""
                sock.sendall((f"{method} {path} HTTP/1.1\r\nHost: {name}:{port}\r\n{length}\r\n").encode())
                words = file.readline().split()
                if len(words) < 2 or not words[0].startswith(b"HTTP/"):
                    cause = f"the connection ended after {len(statuses)} answers"
                    break
                statuses.append(int(words[1]))
                size = 0
                for line in iter(file.readline, b""):
                    if not line.strip():
                        break
                    field, _, value = line.partition(b":")
                    if field.strip().lower() == b"content-length":
                        size = int(value)
                file.read(size)
    except (OSError, ValueError) as error:
        cause = str(error)
    finally:
        sock.close()
    return {"statuses": statuses, "cause": cause}
