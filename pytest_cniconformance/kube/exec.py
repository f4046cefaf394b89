# SPDX-License-Identifier: Apache-2.0
"""Commands in containers over a websocket that stays open: one stream, usable from several threads."""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

from .errors import Call, KubeError, StreamCut, WaitTimeout, one_line, parse_status

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
"""Subprotocols of exec, the better first."""

STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
"""Channels of ``v5.channel.k8s.io``; v4 is the same without CLOSE."""

FRAME = 32 * 1024
"""Bytes of stdin in one frame: some servers and proxies refuse larger ones."""

HEARTBEAT = 10.0
"""Seconds of silence before a ping: load balancers cut streams that are idle for a minute or less."""

_UNANSWERED = 60.0
_SETTLE = 2.0
_CHUNK = 64 * 1024
_QUEUED_OUT = 1 << 20
_BUFFERED_IN = 64 << 20
_SEND_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a finished command left. ``exit_code`` 0 is success."""

    stdout: bytes
    stderr: bytes
    exit_code: int

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0."""
        return self.exit_code == 0


def exit_status(body: bytes) -> tuple[int | None, str]:
    """Return exit code and error text of the ``Status`` on the error channel.

    The exit code is None where the command did not run to its end (no such container, lost runtime).
    """
    status: dict[str, Any] = parse_status(body)
    if status.get("status") == "Success":
        return 0, ""
    message = one_line(str(status.get("message") or "the command failed without a reason"))
    details = status.get("details")
    for cause in (details.get("causes") if isinstance(details, dict) else None) or []:
        if cause.get("reason") == "ExitCode":
            try:
                return int(cause.get("message")), message
            except (TypeError, ValueError):
                break
    return None, message


class ExecStream:
    """A running command. All methods may be called from any thread.

    One thread of its own does all input and output of the socket: a TLS connection must not be read and written
    by two threads at once, and pings have to be sent and answered while nobody reads.
    """

    def __init__(self, client: Any, call: Call, *, heartbeat: float = HEARTBEAT) -> None:
        from websocket import ABNF

        self.call = call
        self.protocol: str = client.getsubprotocol() or ""
        self.exit_code: int | None = None
        """The command's exit code; None while it runs, and for ever if the stream broke."""
        self.error = ""
        """Why there is no exit code, once :meth:`recv` returned ``b""``."""
        self._abnf = ABNF
        self._client = client
        self._heartbeat = heartbeat
        self._changed = threading.Condition()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._status = bytearray()
        self._out = bytearray()
        self._channel = -1
        self._ended = self._closing = self._peer_closed = False
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"cniconformance {call}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def stderr(self) -> bytes:
        """Everything the command wrote to stderr so far."""
        with self._changed:
            return bytes(self._stderr)

    @property
    def ended(self) -> bool:
        """Whether the stream is over; output may still be waiting in :meth:`recv`."""
        with self._changed:
            return self._ended

    def send(self, data: bytes) -> None:
        """Send ``data`` to the command's stdin.

        Blocks while the peer reads more slowly than this writes; raises :class:`StreamCut` when the stream is
        over, and :class:`WaitTimeout` when the peer reads nothing for a minute.
        """
        view = memoryview(data)
        for start in range(0, len(view), FRAME):
            self._queue(bytes([STDIN]) + bytes(view[start : start + FRAME]))

    def close_stdin(self) -> None:
        """End the command's stdin. Only v5 can say that; raises :class:`KubeError` with an older server."""
        if self.protocol != V5:
            raise KubeError(
                self.call,
                f"the server speaks only {self.protocol or 'an unnamed protocol'}, which cannot end stdin",
                remedy="Send the length along, as KubeClient.exec(stdin=...) does",
            )
        self._queue(bytes([CLOSE, STDIN]))

    def recv(self, timeout: float | None = None) -> bytes | None:
        """Return what came on stdout; None if nothing came within ``timeout`` seconds; ``b""`` at the end.

        Raises :class:`StreamCut` where the stream ended without the command's exit status.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._stdout or self._ended, timeout):
                return None
            data = bytes(self._stdout)
            self._stdout.clear()
            if data:
                self._wake()  # there is room again
                return data
            if self.exit_code is None and not self._closing:
                raise StreamCut(self.call, self.error or "the stream ended without an exit status", remedy="")
            return b""

    def wait(self, timeout: float) -> ExecResult:
        """Read until the command ends; raises :class:`WaitTimeout` or :class:`StreamCut`."""
        deadline = time.monotonic() + timeout
        stdout = bytearray()
        while True:
            data = self.recv(max(0.0, deadline - time.monotonic()))
            if data is None:
                raise WaitTimeout(
                    self.call,
                    f"no exit status within {timeout:g} s",
                    causes=tuple(
                        f"{name} so far: {one_line(text.decode('utf-8', 'replace'), 200)}"
                        for name, text in (("stdout", bytes(stdout)), ("stderr", self.stderr))
                        if text
                    ),
                )
            stdout += data
            if not data:
                code = self.exit_code
                if code is None:
                    raise StreamCut(self.call, "the stream was closed before the command ended", remedy="")
                return ExecResult(bytes(stdout), self.stderr, code)

    def close(self) -> None:
        """Drop the stream; the runtime closes the command's stdin and stdout. Returns when all is freed."""
        with self._changed:
            self._closing = True
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    # -- callers' side ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"\0")
        except OSError:
            pass  # full: it is awake already; closed: nobody is left to wake

    def _queue(self, payload: bytes) -> None:
        frame = self._frame(payload, self._abnf.OPCODE_BINARY)
        with self._changed:
            room = self._changed.wait_for(lambda: self._ended or len(self._out) < _QUEUED_OUT, _SEND_TIMEOUT)
            if self._ended or self._closing:
                raise StreamCut(
                    self.call, self.error or "the command has ended; nothing reads its stdin", remedy=""
                )
            if not room:
                raise WaitTimeout(self.call, f"stdin was not read for {_SEND_TIMEOUT:g} s")
            self._out += frame
            self._wake()

    def _frame(self, payload: bytes, opcode: int) -> bytes:
        frame: bytes = self._abnf.create_frame(payload, opcode).format()
        return frame

    # -- the stream's own thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        error = ""
        try:
            self._pump()
        except (OSError, ssl.SSLError) as failure:
            error = f"the connection broke ({failure.strerror or type(failure).__name__})"
        except Exception as failure:  # a broken frame, or websocket-client's "connection lost"
            text = str(failure)
            error = "the connection was closed" if "lost" in text or "closed" in text else one_line(text, 200)
        self._release()
        with self._changed:
            self._finish(error)
            self._ended = True
            self._changed.notify_all()

    def _finish(self, error: str) -> None:
        if self._status:
            self.exit_code, text = exit_status(bytes(self._status))
            self.error = "" if self.exit_code is not None else text
        elif not self._closing:
            self.error = f"{error or 'the server closed the stream'} before the command's exit status came"

    def _release(self) -> None:
        try:
            if self._client.sock:
                self._client.sock.send(self._frame(struct.pack("!H", 1000), self._abnf.OPCODE_CLOSE))
        except (OSError, ValueError):
            pass  # a courtesy to the peer, who may be gone
        self._client.shutdown()
        with self._changed:
            self._wake_in.close()
            self._wake_out.close()

    def _pump(self) -> None:
        """Move frames both ways until the server ends the stream or :meth:`close` is called."""
        heard = pinged = time.monotonic()
        settle: float | None = None  # the end of the time that a closing stream may still take
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            while not self._peer_closed:
                with self._changed:
                    closing, writing = self._closing, bool(self._out)
                    reading = len(self._stdout) < _BUFFERED_IN
                now = time.monotonic()
                if (closing or self._status) and settle is None:
                    settle = now + _SETTLE
                if (closing and not writing) or (settle is not None and now > settle):
                    return
                _want(selector, self._client.sock, reading, writing)
                for key, _ in selector.select(self._heartbeat if settle is None else settle - now):
                    if key.fileobj is self._wake_out:
                        self._wake_out.recv(4096)
                if not reading or self._read():
                    heard = time.monotonic()
                self._write()
                now = time.monotonic()
                if now - heard > max(_UNANSWERED, 3 * self._heartbeat):
                    raise OSError(errno.ETIMEDOUT, f"no answer to pings for {now - heard:.0f} s")
                if now - max(heard, pinged) >= self._heartbeat:
                    pinged = now
                    with self._changed:
                        self._out += self._frame(b"", self._abnf.OPCODE_PING)

    def _read(self) -> bool:
        """Take all frames that are there; whether anything came."""
        came = False
        while not self._peer_closed:
            try:
                frame = self._client.recv_frame()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return came
            came = True
            self._take(frame.opcode, frame.data)
        return came

    def _take(self, opcode: int, data: bytes) -> None:
        abnf = self._abnf
        if opcode == abnf.OPCODE_CLOSE:
            self._peer_closed = True
        elif opcode == abnf.OPCODE_PING:
            with self._changed:
                self._out += self._frame(data, abnf.OPCODE_PONG)
        elif opcode != abnf.OPCODE_PONG and data:
            if opcode != abnf.OPCODE_CONT:  # the fragments of one message all belong to its channel
                self._channel, data = data[0], data[1:]
            with self._changed:
                if self._channel == STDOUT:
                    self._stdout += data
                elif self._channel == STDERR:
                    self._stderr += data
                elif self._channel == ERROR:
                    self._status += data
                self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                chunk = bytes(self._out[:_CHUNK])
            if not chunk:
                return
            try:
                sent = self._client.sock.send(chunk)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            with self._changed:
                del self._out[:sent]
                if len(self._out) < _QUEUED_OUT:
                    self._changed.notify_all()


def _want(selector: selectors.BaseSelector, sock: socket.socket, reading: bool, writing: bool) -> None:
    """Let ``selector`` watch ``sock`` for just that."""
    events = (selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if writing else 0)
    registered = selector.get_map().get(sock)
    if registered is None:
        if events:
            selector.register(sock, events)
    elif not events:
        selector.unregister(sock)
    elif registered.events != events:
        selector.modify(sock, events)
