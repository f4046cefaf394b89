# SPDX-License-Identifier: Apache-2.0
"""A conversation with one agent: requests by id, heartbeats, and one new start after a lost stream."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.model.failure import ClusterError
from pytest_cniconformance.probe.transport import Transport, TransportClosed

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT = 10.0
"""Seconds of quiet after which a heartbeat is sent: proxies before an API server cut idle streams."""


class SessionLost(ClusterError):
    """The stream to an agent broke, or the agent fell silent. Nothing is known of what it was asked."""


class StreamBroken(SessionLost):
    """The stream broke under a request: a new stream may answer it."""


class AgentError(ClusterError):
    """The agent answered a request with an error."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What an agent says of itself when it starts."""

    identity: str
    ips: tuple[str, ...]
    protocols: tuple[str, ...]
    python: str
    kernel: str
    pid: int

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Greeting:
        """Build from the agent's first line; raises KeyError when it is something else."""
        if line.get("hello") != "cniconformance-agent":
            raise KeyError("hello")
        return cls(
            identity=line["identity"],
            ips=tuple(line["ips"]),
            protocols=tuple(line["protocols"]),
            python=line["python"],
            kernel=line["kernel"],
            pid=line["pid"],
        )


class AgentSession:
    """Requests to one agent, from any number of threads.

    ``factory`` opens a new stream; it may raise. One thread per session reads, and sends the heartbeats.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[[], Transport],
        *,
        open_timeout: float = 20.0,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.name = name
        self._factory = factory
        self._open_timeout = open_timeout
        self._heartbeat = heartbeat
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._pending: dict[int, Future[dict[str, Any]]] = {}
        self._transport: Transport | None = None
        self._greeting: Greeting | None = None
        self._reader: threading.Thread | None = None
        self._closed = False
        self.starts = 0
        """How often an agent was started; more than one means that streams were lost."""

    @property
    def running(self) -> bool:
        """Whether there is a stream to the agent, as far as is known."""
        return self._transport is not None

    def open(self) -> Greeting:
        """Start the agent unless it runs, and return its greeting. Raises :class:`SessionLost`."""
        with self._lock:
            if self._transport is not None and self._greeting is not None:
                return self._greeting
            if self._closed:
                raise SessionLost(f"{self.name}: the session was closed")
            try:
                transport = self._factory()
            except Exception as error:
                raise SessionLost(f"{self.name}: cannot start the agent: {error}") from error
            try:
                greeting = self._await_greeting(transport)
            except SessionLost:
                transport.close()
                raise
            self._transport, self._greeting = transport, greeting
            self.starts += 1
            self._reader = threading.Thread(
                target=self._read, args=(transport,), name=f"agent {self.name}", daemon=True
            )
            self._reader.start()
            return greeting

    def _await_greeting(self, transport: Transport) -> Greeting:
        end = monotonic() + self._open_timeout
        try:
            while (remaining := end - monotonic()) > 0:
                line = transport.recv(remaining)
                if line is not None:
                    with contextlib.suppress(ValueError, KeyError, AttributeError):
                        return Greeting.from_json(json.loads(line))
        except TransportClosed as error:
            raise SessionLost(f"{self.name}: {error}") from error
        raise SessionLost(f"{self.name}: the agent did not greet within {self._open_timeout:g} s")

    def submit(self, op: str, /, **arguments: Any) -> Future[dict[str, Any]]:
        """Send a request and return its future, which may fail with :class:`SessionLost` or :class:`AgentError`."""
        future: Future[dict[str, Any]] = Future()
        try:
            self.open()
        except SessionLost as error:
            future.set_exception(error)
            return future
        with self._lock:
            transport = self._transport
            number = next(self._ids)
            self._pending[number] = future
        line = json.dumps({"id": number, "op": op, **arguments}, separators=(",", ":")).encode() + b"\n"
        try:
            if transport is None:
                raise TransportClosed("the stream was lost")
            with self._writing:
                transport.send(line)
        except TransportClosed as error:
            self._lose(transport, str(error))
            with self._lock:
                self._pending.pop(number, None)
            if not future.done():
                future.set_exception(StreamBroken(f"{self.name}: {error}"))
        return future

    def request(self, op: str, /, *, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """Return the agent's answer; a stream that breaks meanwhile is opened anew and asked again, once.

        Raises :class:`SessionLost` (also after ``timeout`` seconds) and :class:`AgentError`.
        """
        first = self.submit(op, **arguments)
        return self.finish(first, op, timeout=timeout, **arguments)

    def finish(
        self, future: Future[dict[str, Any]], op: str, /, *, timeout: float, **arguments: Any
    ) -> dict[str, Any]:
        """Wait for a submitted request, repeating it once if its stream was lost. See :meth:`request`."""
        try:
            return self._wait(future, op, timeout)
        except StreamBroken:
            if self._closed:
                raise
        return self._wait(self.submit(op, **arguments), op, timeout)

    def _wait(self, future: Future[dict[str, Any]], op: str, timeout: float) -> dict[str, Any]:
        try:
            return future.result(timeout)
        except FutureTimeout:
            raise SessionLost(f"{self.name}: no answer to {op!r} within {timeout:g} s") from None

    def close(self) -> None:
        """End the agent. Requests under way fail."""
        with self._lock:
            self._closed = True
            transport, reader = self._transport, self._reader
        if transport is not None:
            self._lose(transport, "the session was closed")
        if reader is not None and reader is not threading.current_thread():
            reader.join(5)

    def _read(self, transport: Transport) -> None:
        unanswered = 0
        try:
            while True:
                line = transport.recv(self._heartbeat)
                if line is not None:
                    unanswered = 0
                    self._resolve(line)
                elif unanswered >= 3:
                    raise TransportClosed(
                        f"the agent has not answered for {self._heartbeat * unanswered:g} s"
                    )
                else:
                    unanswered += 1
                    with self._writing:
                        transport.send(b'{"id":0,"op":"ping"}\n')
        except TransportClosed as error:
            self._lose(transport, str(error))

    def _resolve(self, line: bytes) -> None:
        try:
            answer: dict[str, Any] = json.loads(line)
            number = answer.get("id", 0)
        except (ValueError, AttributeError):
            return  # a warning that someone printed into the stream
        with self._lock:
            future = self._pending.pop(number, None)
        if future is None:
            return
        if "error" in answer and len(answer) == 2:
            future.set_exception(AgentError(f"{self.name}: {answer['error']}"))
        else:
            future.set_result(answer)

    def _lose(self, transport: Transport | None, why: str) -> None:
        with self._lock:
            if transport is None or self._transport is not transport:
                return
            self._transport = self._greeting = None
            lost, self._pending = list(self._pending.values()), {}
        transport.close()
        for future in lost:
            future.set_exception(StreamBroken(f"{self.name}: {why}"))
