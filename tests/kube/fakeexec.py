# SPDX-License-Identifier: Apache-2.0
"""The exec half of the scripted API server: websockets by hand, so that frames can be torn, late or wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fakeapi import FakeApi, Handler, Request


class Exec:
    """The server's end of one exec stream."""

    def __init__(self, handler: Handler, protocol: str, argv: list[str]) -> None:
        self.handler = handler
        self.protocol = protocol
        self.argv = argv
        self.frames: list[tuple[int, int]] = []
        self.pings = 0
        self.stdin: queue.Queue[bytes | None] = queue.Queue()
        self.lock = threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def frame(self, opcode: int, data: bytes, final: bool = True) -> None:
        """Send one websocket frame."""
        head = bytes([(0x80 if final else 0) | opcode])
        if len(data) < 126:
            head += bytes([len(data)])
        elif len(data) < 65536:
            head += b"\x7e" + struct.pack("!H", len(data))
        else:
            head += b"\x7f" + struct.pack("!Q", len(data))
        with self.lock:
            self.handler.connection.sendall(head + data)

    def out(self, data: bytes, channel: int = 1) -> None:
        """Write to stdout (1), stderr (2) or the error channel (3)."""
        self.frame(2, bytes([channel]) + data)

    def exit(self, code: int) -> None:
        """Report the exit code and close, as the API server does."""
        status: dict[str, Any] = {"kind": "Status", "status": "Success"}
        if code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {
                "kind": "Status",
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code: {code}",
                "details": {"causes": causes},
            }
        self.out(json.dumps(status).encode(), 3)
        self.frame(8, struct.pack("!H", 1000))

    def input(self) -> Iterator[bytes]:
        """Yield stdin until it is closed."""
        while (data := self.stdin.get(timeout=30)) is not None:
            yield data

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes of stdin."""
        data = b""
        while len(data) < size:
            data += self.stdin.get(timeout=30) or b""
        return data

    def read(self) -> None:
        try:
            while True:
                first, second = self.take(2)
                size = second & 0x7F
                if size == 126:
                    size = struct.unpack("!H", self.take(2))[0]
                elif size == 127:
                    size = struct.unpack("!Q", self.take(8))[0]
                mask = self.take(4)
                data = self.take(size)
                whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
                data = whole.to_bytes(size, "big")
                opcode = first & 15
                self.frames.append((opcode, size))
                if opcode == 8:
                    break
                if opcode == 9:
                    self.pings += 1
                    self.frame(10, data)
                elif opcode == 2 and data[0] == 0:
                    self.stdin.put(data[1:])
                elif opcode == 2 and data[0] == 255:
                    self.stdin.put(None)
        except (OSError, ValueError):
            pass
        self.stdin.put(None)

    def take(self, size: int) -> bytes:
        data: bytes = self.handler.rfile.read(size)
        if len(data) < size:
            raise OSError
        return data


def serve_exec(api: FakeApi, handler: Handler, request: Request) -> None:
    """Switch to a websocket and run the scripted command."""
    asked = [part.strip() for part in request.headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((name for name in asked if name in api.protocols), None)
    if chosen is None or request.headers.get("upgrade", "").lower() != "websocket":
        return handler.fail(400, "BadRequest", "no common protocol")
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.close_connection = True
    handler.send_response(101)
    for name, value in (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
        ("Sec-WebSocket-Protocol", chosen),
    ):
        handler.send_header(name, value)
    handler.end_headers()
    argv = request.query["command"]
    session = Exec(handler, chosen, argv)
    command = api.commands.get(argv[0]) or COMMANDS.get(argv[0])
    if command is None:
        message = f'exec: "{argv[0]}": executable file not found in $PATH'
        session.out(
            json.dumps({"status": "Failure", "reason": "InternalError", "message": message}).encode(), 3
        )
        session.frame(8, struct.pack("!H", 1000))
    else:
        try:
            command(session)
        except OSError:
            pass
    session.reader.join(10)


def _cat(session: Exec) -> None:
    for data in session.input():
        session.out(data)
    session.exit(0)


def _sh(session: Exec) -> None:
    """Understand just the wrapper that replaces the end of stdin before v5."""
    script, size, argv = session.argv[2], int(session.argv[4]), session.argv[5:]
    assert script == 'n=$1; shift; head -c "$n" | "$@"', script
    assert argv == ["cat"]
    session.out(session.exactly(size))
    session.exit(0)


COMMANDS: dict[str, Callable[[Exec], None]] = {
    "true": lambda session: session.exit(0),
    "cat": _cat,
    "sh": _sh,
    "exit": lambda session: session.exit(int(session.argv[1])),
}
