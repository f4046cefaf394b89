# SPDX-License-Identifier: Apache-2.0
"""The daemon's side of the zygote: run commands, start containers, exec into them, hear of their ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal as signals
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_cniconformance.lab.node.spec import Process

_MAX_PACKET = 1 << 16
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartError(Exception):
    """A program could not be started; ``kind`` is ``create`` (its surroundings) or ``exec`` (the program)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Child:
    """A running program. ``await child.wait()`` gives its exit code (128 + n for signal n)."""

    def __init__(self, pid: int, ended: asyncio.Future[int], runner: ZygoteRunner) -> None:
        self.pid = pid
        self._ended = ended
        self._runner = runner

    async def wait(self) -> int:
        """Return the exit code once the program has ended; may be awaited by many."""
        return await asyncio.shield(self._ended)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.done()

    def kill(self, signal: int = signals.SIGKILL) -> None:
        """Send a signal; nothing happens if the program has ended (no pid can be hit by mistake)."""
        if self.running:
            self._runner.send({"op": "kill", "pid": self.pid, "signal": int(signal)})


class ZygoteRunner:
    """Talks to the zygote from the event loop; create it where the loop runs."""

    def __init__(self, connection: socket.socket, *, on_death: Callable[[str], None]) -> None:
        self._connection = connection
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, asyncio.Future[Child]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._next_id = 0
        self._ready: asyncio.Future[None] = self._loop.create_future()
        connection.setblocking(False)
        self._loop.add_reader(connection, self._receive)

    async def ready(self) -> None:
        """Wait until the zygote has prepared the file system that containers share. Raises LabError."""
        await self._ready

    async def run(
        self, argv: Sequence[str], stdin: bytes = b"", netns: str | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a short command in a network namespace; return (exit code, stdout, stderr).

        A program that does not exist gives exit code 127 and the reason on stderr.
        """
        # Memory files instead of pipes: no reader, no deadlock, and half the system calls.
        files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("stdin", "stdout", "stderr")]
        try:
            os.write(files[0], stdin)
            os.lseek(files[0], 0, os.SEEK_SET)
            env = {"PATH": _PATH, "LC_ALL": "C"}
            process: Process = {"argv": list(argv), "env": env, "cwd": "/", "netns": netns}
            try:
                child = await self.start(process, files)
            except StartError as error:
                return 127, b"", str(error).encode()
            try:
                code = await child.wait()
            finally:
                child.kill()  # whoever gives up waiting wants no more of it
            out, err = (os.pread(fd, os.fstat(fd).st_size, 0) for fd in files[1:])
            return code, out, err
        finally:
            for fd in files:
                os.close(fd)

    async def start(self, process: Process, stdio: Sequence[int]) -> Child:
        """Start a program on the descriptors (stdin, stdout, stderr), which stay open here.

        Returns once it runs. Raises StartError.
        """
        self._next_id += 1
        future: asyncio.Future[Child] = self._loop.create_future()
        self._requests[self._next_id] = future
        self.send({"op": "start", "id": self._next_id, "process": process}, stdio)
        return await future

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue a request; the descriptors are duplicated at once."""
        packet = json.dumps(message).encode()
        riders = [os.dup(fd) for fd in fds]
        if len(packet) > _MAX_PACKET:
            body = os.memfd_create("request", os.MFD_CLOEXEC)
            os.write(body, packet)
            riders.append(body)
            packet = b"fd"
        self._outbox.append((packet, riders))
        self._flush()

    def close(self) -> None:
        """Hang up; the zygote then ends, and so does this object's use."""
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()

    def _flush(self) -> None:
        while self._outbox:
            packet, riders = self._outbox[0]
            try:
                socket.send_fds(self._connection, [packet], riders)
            except BlockingIOError:
                self._loop.add_writer(self._connection, self._flush)
                return
            except OSError:
                pass  # the zygote is gone; _receive reports it
            self._outbox.popleft()
            for fd in riders:
                os.close(fd)
        self._loop.remove_writer(self._connection)

    def _receive(self) -> None:
        while True:
            try:
                packet = self._connection.recv(_MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._connection)
                self._fail("the process that starts the lab's containers has died")
                return
            self._handle(json.loads(packet))

    def _handle(self, message: dict[str, Any]) -> None:
        if "exit" in message:
            end = self._ends.pop(message["exit"], None)
            if end is not None and not end.done():
                end.set_result(message["code"])
            return
        if "fatal" in message:
            self._fail(f"containers cannot be prepared on this machine: {message['fatal']}")
            return
        if "ready" in message:
            if not self._ready.done():
                self._ready.set_result(None)
            return
        request = self._requests.pop(message["id"], None)
        if "pid" in message:
            ended: asyncio.Future[int] = self._loop.create_future()
            self._ends[message["pid"]] = ended
            child = Child(message["pid"], ended, self)
            if request is None or request.done():
                child.kill()  # whoever asked has given up meanwhile
            else:
                request.set_result(child)
        elif request is not None and not request.done():
            request.set_exception(StartError(message["kind"], message["error"]))

    def _fail(self, reason: str) -> None:
        error = LabError(reason)
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # the start may have failed elsewhere first; no warning then
        waiting: list[asyncio.Future[Any]] = [*self._requests.values(), *self._ends.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._on_death(reason)
