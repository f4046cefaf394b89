# SPDX-License-Identifier: Apache-2.0
"""The process that starts everything else of a lab: one for all nodes, small, standard library only.

It is forked off before the daemon imports anything heavy, so that each start is a cheap fork, and it is
single-threaded, so that forking and changing namespaces are safe. It talks over one SOCK_SEQPACKET socket:
a packet is one JSON object (or the word ``fd`` with the JSON in a memfd), descriptors ride along.

Requests  ``{"op": "start", "id", ...Process}`` with the descriptors of stdin, stdout, stderr;
          ``{"op": "kill", "pid", "signal"}``.
Answers   ``{"id", "pid"}`` once the program runs, or ``{"id", "error", "kind"}``;
          ``{"exit": pid, "code"}`` when it has ended (128 + n for signal n).
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from . import rootfs, syscalls
from .sandbox import StartFailure, become

if TYPE_CHECKING:
    from typing import NoReturn

    from .spec import Process

_MAX_PACKET = 1 << 16


class _Zygote:
    def __init__(self, connection: socket.socket, *, rootless: bool) -> None:
        self._connection = connection
        self._rootless = rootless
        self._selector = selectors.DefaultSelector()
        self._own_pidns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._starting: dict[int, tuple[int, int]] = {}  # pid -> (request id, report pipe)
        self._alive: set[int] = set()
        self._outbox: deque[bytes] = deque()

    def serve(self) -> None:
        """Work until the daemon closes its end."""
        self._connection.setblocking(False)
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C in a terminal goes to the whole foreground group; only the daemon decides when to stop.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._connection, selectors.EVENT_READ, "request")
        self._selector.register(wake_read, selectors.EVENT_READ, "child")
        while True:
            for key, mask in self._selector.select():
                if key.data == "request":
                    if mask & selectors.EVENT_WRITE:
                        self._flush()
                    if mask & selectors.EVENT_READ and not self._receive():
                        return
                elif key.data == "child":
                    wake_read.recv(4096)
                    self._reap()
                elif key.data in self._starting:
                    self._started(key.data)

    def _receive(self) -> bool:
        try:
            packet, fds, _, _ = socket.recv_fds(self._connection, _MAX_PACKET + 1, 8)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not packet:
            return False
        if packet == b"fd":
            with os.fdopen(fds.pop(), "rb") as body:
                body.seek(0)
                packet = body.read()
        request: dict[str, Any] = json.loads(packet)
        try:
            if request["op"] == "start":
                self._start(request, fds)
            elif request["op"] == "kill" and request["pid"] in self._alive:
                os.kill(request["pid"], request["signal"])
        except OSError as error:
            self._send({"id": request.get("id"), "error": str(error), "kind": "create"})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _start(self, request: dict[str, Any], fds: list[int]) -> None:
        process: Process = request["process"]
        join = process.get("join")
        pidfd = None
        report_read, report_write = os.pipe2(os.O_CLOEXEC)
        try:
            if join is not None:
                if join not in self._alive:
                    raise ProcessLookupError(f"container is not running (pid {join})")
                pidfd = os.pidfd_open(join)
                syscalls.setns(pidfd, syscalls.CLONE_NEWPID)
            elif process.get("sandbox") is not None:
                syscalls.unshare(syscalls.CLONE_NEWPID)
            try:
                pid = os.fork()
                if pid == 0:
                    self._child(process, fds, pidfd, report_write)
            finally:
                # Children of this process start in the namespace chosen above until it is chosen back.
                syscalls.setns(self._own_pidns, syscalls.CLONE_NEWPID)
        except OSError:
            os.close(report_read)
            raise
        finally:
            os.close(report_write)
            if pidfd is not None:
                os.close(pidfd)
        self._alive.add(pid)
        self._starting[pid] = (request["id"], report_read)
        self._selector.register(report_read, selectors.EVENT_READ, pid)

    def _child(self, process: Process, fds: list[int], pidfd: int | None, report: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            become(process, fds, pidfd, self._rootless)
        except StartFailure as failure:
            os.write(report, json.dumps({"error": str(failure), "kind": failure.kind}).encode())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            os.write(report, json.dumps({"error": text, "kind": "create"}).encode())
        finally:
            os._exit(127)

    def _started(self, pid: int) -> None:
        """Read what the child had to say: nothing means that exec closed the pipe."""
        request_id, report = self._starting.pop(pid)
        self._selector.unregister(report)
        with os.fdopen(report, "rb") as stream:
            message = stream.read()
        if message:
            self._send({"id": request_id, **json.loads(message)})
        else:
            self._send({"id": request_id, "pid": pid})

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._starting:
                self._started(pid)
            self._alive.discard(pid)
            code = os.waitstatus_to_exitcode(status)
            self._send({"exit": pid, "code": code if code >= 0 else 128 - code})

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.append(json.dumps(message).encode())
        self._flush()

    def _flush(self) -> None:
        events = selectors.EVENT_READ
        while self._outbox:
            try:
                self._connection.send(self._outbox[0])
            except BlockingIOError:
                events |= selectors.EVENT_WRITE
                break
            except OSError:
                break  # the daemon is gone; the next read says so
            self._outbox.popleft()
        self._selector.modify(self._connection, events, "request")


def fork_zygote(*, rootless: bool) -> tuple[socket.socket, int]:
    """Start the zygote; return the daemon's end of the socket and the pid.

    Call it early: the child keeps what the caller has imported, and the caller must have one thread only.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    code = 1
    try:
        ours.close()
        rootfs.build_template()
        # No cycles are made here, and a collector that runs would touch, hence copy, the pages shared by a fork.
        gc.disable()
        gc.freeze()
        theirs.send(b'{"ready": true}')
        _Zygote(theirs, rootless=rootless).serve()
        code = 0
    except BaseException as error:
        try:
            theirs.send(json.dumps({"fatal": f"{type(error).__name__}: {error}"}).encode())
        except OSError:
            pass
    finally:
        os._exit(code)
