# SPDX-License-Identifier: Apache-2.0
"""The agent: one file that runs in every probe pod (and, as a process, at every outside vantage).

``agent.py serve --listen TCP:80 --listen UDP:80 --http 8080 --identity ns/pod`` is a pod's main process: it answers
on every port and names itself. ``agent.py probe`` is started through an exec stream and speaks JSON lines on stdin
and stdout: a greeting, then one answer per request (``{"id": 1, "op": "probe", ...}`` to ``{"id": 1, ...}``).

It must run on any stock Python image, so: standard library only, Python 3.8 or later, and one file, because a
ConfigMap carries it. It starts in milliseconds, so: neither asyncio nor argparse nor threading nor pathlib, and
hashlib only where asked for. All sockets of a process hang on one ``selectors`` loop whose own lag is measured:
a prober that did not get the processor must never report silence as a drop.
"""
# pathlib would cost more than the rest of the start-up:
# ruff: noqa: PTH123

from __future__ import annotations

import _thread
import collections
import errno
import heapq
import itertools
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from typing import Any

VERSION = 1
IDLE_EXIT = 60  # seconds without a line on stdin: the other end is gone, leave no orphan in the pod
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
SCTP = 132
PROTOCOLS = {
    "TCP": (socket.SOCK_STREAM, 0),
    "UDP": (socket.SOCK_DGRAM, 0),
    "SCTP": (socket.SOCK_STREAM, SCTP),
}
ECHO_LIMIT = 16 << 20
# Linux constants that the socket module does not export in every Python.
IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE, IP_PKTINFO = 11, 25, 0x2000, 8

now = time.monotonic


# --- The loop -------------------------------------------------------------------------------------


class Task:
    """A coroutine on the loop. ``token`` changes at every wake-up, which makes stale timers and events harmless."""

    __slots__ = ("coro", "done", "error", "result", "token", "waiters")

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.coro = coro
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.token = 0
        self.waiters: list[tuple[Task, int]] = []


class Loop:
    """Coroutines over one selector. Input and output are served before timers: an answer beats its deadline."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Task, int]] = []
        self.ready: collections.deque[tuple[Task, Any]] = collections.deque()
        self.current: Task
        self._count = 0
        self._finished: collections.deque[tuple[Task, int, Any]] = collections.deque()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.selector.register(self._woken, READ, None)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> Task:
        """Start the coroutine with the next turn of the loop."""
        task = Task(coro)
        self.ready.append((task, None))
        return task

    def cancel(self, task: Task) -> None:
        """Stop the task where it waits; its ``finally`` blocks run now."""
        if not task.done:
            task.done = True
            task.token += 1
            task.coro.close()

    def wake(self, task: Task, token: int, value: Any) -> None:
        """Let the task go on with this value, unless it has gone on since the token was taken."""
        if task.token == token and not task.done:
            task.token += 1
            self.ready.append((task, value))

    @types.coroutine
    def suspend(self, deadline: float | None) -> Generator[None, Any, Any]:
        """Wait for a wake-up; None at the deadline."""
        if deadline is not None:
            self._count += 1
            heapq.heappush(self.timers, (deadline, self._count, self.current, self.current.token))
        return (yield)

    async def io(self, sock: socket.socket, mask: int, deadline: float | None) -> Any:
        """Wait until the socket is ready; a false value at the deadline."""
        self.selector.register(sock, mask, (self.current, self.current.token))
        try:
            return await self.suspend(deadline)
        finally:
            self.selector.unregister(sock)

    async def wait_any(self, tasks: Iterable[Task], deadline: float | None) -> None:
        """Wait until one of the unfinished tasks has finished, or the deadline."""
        me, token = self.current, self.current.token
        for task in tasks:
            if not task.done:
                task.waiters.append((me, token))
        await self.suspend(deadline)

    async def join(self, task: Task) -> Any:
        """Wait for the task and return its result, or raise its error."""
        while not task.done:
            await self.wait_any([task], None)
        if task.error is not None:
            raise task.error
        return task.result

    async def thread(self, deadline: float | None, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking function in a thread; None at the deadline (the thread is left to end by itself)."""
        me, token = self.current, self.current.token

        def run() -> None:
            try:
                value: Any = ("ok", function(*args))
            except Exception as error:
                value = ("error", error)
            self._finished.append((me, token, value))
            self._waker.send(b"x")

        _thread.start_new_thread(run, ())
        value = await self.suspend(deadline)
        if value is None:
            return None
        if value[0] == "error":
            raise value[1]
        return value[1]

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Turn the loop until the coroutine has ended; return its result."""
        main = self.spawn(coro)
        ready, timers = self.ready, self.timers
        while not main.done:
            if ready:
                timeout: float | None = 0
            else:
                timeout = max(0.0, timers[0][0] - now()) if timers else None
            for key, mask in self.selector.select(timeout):
                if key.data is None:
                    self._drain()
                else:
                    self.wake(key.data[0], key.data[1], mask)
            moment = now()
            while timers and timers[0][0] <= moment:
                _, _, task, token = heapq.heappop(timers)
                self.wake(task, token, None)
            for _ in range(len(ready)):
                self._step(*ready.popleft())
        if main.error is not None:
            raise main.error
        return main.result

    def _drain(self) -> None:
        self._woken.recv(4096)
        while self._finished:
            self.wake(*self._finished.popleft())

    def _step(self, task: Task, value: Any) -> None:
        if task.done:
            return
        self.current = task
        try:
            task.coro.send(value)
            return
        except StopIteration as stop:
            task.result = stop.value
        except Exception as error:
            task.error = error
        task.done = True
        for waiter, token in task.waiters:
            self.wake(waiter, token, task)


class Silence(Exception):
    """Nothing came before the deadline."""


class Channel:
    """A non-blocking stream socket with a read buffer."""

    __slots__ = ("buffer", "loop", "sock")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.loop, self.sock, self.buffer = loop, sock, b""

    async def more(self, deadline: float | None) -> bool:
        """Read what there is into the buffer; False at the end of the stream."""
        while True:
            try:
                data = self.sock.recv(262144)
                self.buffer += data
                return bool(data)
            except BlockingIOError:
                if not await self.loop.io(self.sock, READ, deadline):
                    raise Silence from None

    async def until(self, mark: bytes, deadline: float | None) -> bytes | None:
        """Return what stands before the mark, mark included; None when the stream ends first."""
        while mark not in self.buffer:
            if len(self.buffer) > 262144 or not await self.more(deadline):
                return None
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    async def exactly(self, size: int, deadline: float | None) -> bytes | None:
        """Return this many bytes; None when the stream ends first."""
        if size > len(self.buffer):
            parts, have = [self.buffer], len(self.buffer)
            while have < size:
                self.buffer = b""
                if not await self.more(deadline):
                    return None
                parts.append(self.buffer)
                have += len(self.buffer)
            self.buffer = b"".join(parts)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def send(self, data: bytes, deadline: float | None) -> None:
        """Send all of the data."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                if not await self.loop.io(self.sock, WRITE, deadline):
                    raise Silence from None


# --- Addresses ------------------------------------------------------------------------------------


def family_of(host: str) -> int:
    """Return the address family of an IP literal, 0 for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
            return int(family)
        except OSError:
            pass
    return 0


def own_addresses() -> dict[int, list[str]]:
    """Return this network namespace's addresses by family, loopback and link-local left out."""
    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    try:
        with open("/proc/net/fib_trie") as trie:
            previous = ""
            for line in trie:
                if "/32 host LOCAL" in line:
                    address = previous.split()[-1]
                    if not address.startswith("127.") and address not in found[socket.AF_INET]:
                        found[socket.AF_INET].append(address)
                previous = line
    except (OSError, IndexError):
        pass
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                digits, _, _, scope = line.split()[:4]
                if scope == "00":
                    found[socket.AF_INET6].append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    except (OSError, ValueError):
        pass
    for address in reversed(os.environ.get("CNI_POD_IPS", "").replace(",", " ").split()):
        family = family_of(address)
        if family:
            found[family] = [address] + [other for other in found[family] if other != address]
    return found


def endpoint(address: tuple[Any, ...]) -> str:
    """Return ``address:port`` of a socket address."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def available_protocols() -> list[str]:
    """Return the transport protocols that the kernel has."""
    found = []
    for name, (kind, number) in PROTOCOLS.items():
        try:
            socket.socket(socket.AF_INET, kind, number).close()
            found.append(name)
        except OSError:
            pass
    return found


def answer(nonce: Any, identity: str, peer: str, size: int = 0, digest: str = "") -> bytes:
    """Return the line by which a server names itself."""
    reply = {"n": nonce, "i": identity, "p": peer, "b": size}
    if digest:
        reply["h"] = digest
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"


def sha256(data: bytes) -> str:
    """Return the hash in hex."""
    import hashlib  # pulls in OpenSSL: not at start-up

    return hashlib.sha256(data).hexdigest()


# --- Serving --------------------------------------------------------------------------------------


class Server:
    """Answers on its ports and counts. TCP ports speak three tongues, told apart by the first byte.

    ``{`` starts the JSON line protocol: a request line ``{n: nonce, l: payload bytes (-1: until end of stream),
    e: echo, h: hash, g: bytes to give, q: close afterwards}`` and its payload are answered by a line
    ``{n, i: identity, p: peer address, b: bytes seen, h: sha256}``, then the echo or the gift. ``=`` starts a line
    that is sent back as it came, for round trips without the cost of JSON. Anything else is HTTP/1.1.
    """

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop, self.identity = loop, identity
        self.ports: list[tuple[str, int]] = []
        self.counters: dict[str, dict[str, int]] = {}
        self.recent: collections.deque[list[Any]] = collections.deque(maxlen=512)
        self._sockets: list[socket.socket] = []

    def listen(self, protocol: str, port: int) -> int:
        """Listen on all addresses of all families and return the port (0 picks a free one)."""
        for _ in range(20):
            opened: list[socket.socket] = []
            bound = port
            try:
                for family in (socket.AF_INET, socket.AF_INET6):
                    try:
                        sock = socket.socket(family, *PROTOCOLS[protocol])
                    except OSError:
                        if family == socket.AF_INET:
                            raise
                        continue  # the kernel has no IPv6
                    opened.append(sock)
                    sock.setblocking(False)
                    if family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    if protocol != "UDP":
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", bound))
                    except OSError as error:
                        if family == socket.AF_INET6 and error.errno in (
                            errno.EADDRNOTAVAIL,
                            errno.EAFNOSUPPORT,
                        ):
                            opened.pop().close()  # IPv6 is switched off in this namespace
                            continue
                        raise
                    bound = sock.getsockname()[1]
                    if protocol != "UDP":
                        sock.listen(1024)
            except OSError as error:
                for sock in opened:
                    sock.close()
                if port == 0 and error.errno == errno.EADDRINUSE:
                    continue  # the port that IPv4 was given is taken on IPv6
                raise OSError(
                    error.errno, f"cannot listen on {protocol} port {port}: {error.strerror}"
                ) from error
            break
        else:
            raise OSError(errno.EADDRINUSE, "no port is free on IPv4 and IPv6 at once")
        counter = self.counters[f"{protocol}/{bound}"] = {"connections": 0, "requests": 0, "bytes": 0}
        for sock in opened:
            self._sockets.append(sock)
            self.loop.spawn(
                self._datagrams(sock, bound, counter)
                if protocol == "UDP"
                else self._accept(sock, protocol, bound, counter)
            )
        self.ports.append((protocol, bound))
        return bound

    def _saw(self, counter: dict[str, int], protocol: str, port: int, peer: str, nonce: Any) -> None:
        counter["requests"] += 1
        self.recent.append([round(time.time(), 6), protocol, port, peer, nonce])

    async def _accept(
        self, listener: socket.socket, protocol: str, port: int, counter: dict[str, int]
    ) -> None:
        while True:
            await self.loop.io(listener, READ, None)
            try:
                while True:
                    sock, address = listener.accept()
                    sock.setblocking(False)
                    counter["connections"] += 1
                    self.loop.spawn(self._converse(sock, endpoint(address), protocol, port, counter))
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await self.loop.suspend(now() + 0.02)  # until other connections have ended

    async def _converse(
        self, sock: socket.socket, peer: str, protocol: str, port: int, counter: dict[str, int]
    ) -> None:
        channel = Channel(self.loop, sock)
        try:
            if protocol == "TCP":
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            go_on = True
            while go_on:
                idle = now() + 900
                if not channel.buffer and not await channel.more(idle):
                    return
                first = channel.buffer[:1]
                if first == b"=":
                    line = await channel.until(b"\n", idle)
                    if line is None:
                        return
                    counter["requests"] += 1
                    await channel.send(line, idle)
                elif first == b"{":
                    go_on = await self._line(channel, peer, protocol, port, counter, idle)
                else:
                    go_on = await self._http(channel, peer, port, counter, idle)
        except (OSError, ValueError, KeyError, TypeError, Silence):
            pass  # the peer's business: it went away, or it spoke nonsense
        finally:
            sock.close()

    async def _line(
        self, channel: Channel, peer: str, protocol: str, port: int, counter: dict[str, int], idle: float
    ) -> bool:
        line = await channel.until(b"\n", idle)
        if line is None:
            return False
        request = json.loads(line)
        self._saw(counter, protocol, port, peer, request.get("n"))
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
            hasher = None
            if request.get("h"):
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
            digest = hasher.hexdigest() if hasher is not None else ""
        counter["bytes"] += size
        await channel.send(answer(request.get("n"), self.identity, peer, size, digest) + payload, idle)
        gift = request.get("g", 0)
        block = pattern(min(gift, 262144))
        while gift > 0:
            await channel.send(block[: min(gift, len(block))], idle)
            gift -= len(block)
        return length >= 0 and not request.get("q")

    async def _http(
        self, channel: Channel, peer: str, port: int, counter: dict[str, int], idle: float
    ) -> bool:
        if not b"A" <= channel.buffer[:1] <= b"Z":
            return False
        head = await channel.until(b"\r\n\r\n", idle)
        if head is None:
            return False
        start, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, version = start.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self._saw(counter, "HTTP", port, peer, headers.get("cni-nonce"))
        if headers.get("expect", "").lower() == "100-continue":
            await channel.send(b"HTTP/1.1 100 Continue\r\n\r\n", idle)
        size = 0
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = await channel.until(b"\r\n", idle)
                if line is None or await channel.exactly(int(line.split(b";")[0], 16) + 2, idle) is None:
                    return False
                if int(line.split(b";")[0], 16) == 0:
                    break
                size += int(line.split(b";")[0], 16)
        else:
            size = int(headers.get("content-length", 0))
            if await channel.exactly(size, idle) is None:
                return False
        counter["bytes"] += size
        body = json.dumps(
            {
                "responder": self.identity,
                "method": method,
                "path": path,
                "headers": headers,
                "peer": peer,
                "body_bytes": size,
            }
        ).encode()
        keep = headers.get("connection", "").lower() != "close" and version != "HTTP/1.0"
        fields = {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            "cni-responder": self.identity,
            "cni-nonce": headers.get("cni-nonce", ""),
            "cni-peer": peer,
            "Connection": "keep-alive" if keep else "close",
        }
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields.items())]
        reply = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        await channel.send(reply if method == "HEAD" else reply + body, idle)
        return keep

    async def _datagrams(self, sock: socket.socket, port: int, counter: dict[str, int]) -> None:
        # The answer must leave from the address that was asked, or a client with a connected socket (and the
        # reverse translation of a Service) would not know it: a node has more than one address.
        six = sock.family == socket.AF_INET6
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) if six else (socket.IPPROTO_IP, IP_PKTINFO)
        sock.setsockopt(level, socket.IPV6_RECVPKTINFO if six else option, 1)
        while True:
            await self.loop.io(sock, READ, None)
            try:
                while True:
                    data, ancillary, _, address = sock.recvmsg(65535, 256)
                    reply = self._datagram(data, endpoint(address), port, counter)
                    if reply:
                        control = [
                            (level, option, info)
                            for at, kind, info in ancillary
                            if (at, kind) == (level, option)
                        ]
                        if not six and control:
                            # struct in_pktinfo: interface, local address, destination. Interface 0: route decides.
                            control = [(level, option, struct.pack("=i", 0) + control[0][2][4:])]
                        sock.sendmsg([reply], control, 0, address)
            except BlockingIOError:
                pass
            except OSError:
                pass  # an ICMP error that an earlier answer met

    def _datagram(self, data: bytes, peer: str, port: int, counter: dict[str, int]) -> bytes:
        counter["bytes"] += len(data)
        if data[:1] == b"=":
            counter["requests"] += 1
            return data
        line, _, payload = data.partition(b"\n")
        try:
            request = json.loads(line)
            self._saw(counter, "UDP", port, peer, request.get("n"))
        except (ValueError, AttributeError):
            return b""
        digest = sha256(payload) if request.get("h") else ""
        reply = answer(request.get("n"), self.identity, peer, len(payload), digest)
        return reply + payload if request.get("e") else reply


def pattern(size: int) -> bytes:
    """Return bytes in which a lost, doubled or moved part shows."""
    block = b"".join(struct.pack("!I", number) for number in range(min(size, 4096) // 4 + 1))
    return (block * (size // len(block) + 1))[:size]


def control_name(identity: str) -> str:
    """Return the address of the control socket of a serving agent."""
    # Abstract: needs no writable file system. Named by identity: pods on the host network share one name space.
    return "\0cniconformance/" + identity


def bind_control(identity: str) -> socket.socket:
    """Return the listening control socket; OSError if another agent serves under this name here."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(control_name(identity))
    except OSError as error:
        raise OSError(
            error.errno, f"another agent already serves as {identity} in this network namespace"
        ) from error
    listener.listen(8)
    return listener


async def serve_control(loop: Loop, server: Server, listener: socket.socket) -> None:
    """Tell the pod's own probe sessions the bound ports and the counters."""
    listener.setblocking(False)
    while True:
        await loop.io(listener, READ, None)
        sock, _ = listener.accept()
        sock.setblocking(False)
        facts = {"ports": server.ports, "counters": server.counters, "recent": list(server.recent)}
        try:
            await Channel(loop, sock).send(json.dumps(facts).encode() + b"\n", now() + 5)
        except (OSError, Silence):
            pass
        sock.close()


# --- One attempt ----------------------------------------------------------------------------------

# (ICMP type, code) of the errors by which a filter says no; every other ICMP error means that there is no way.
PROHIBITED_4 = {(3, 9), (3, 10), (3, 13)}
PROHIBITED_6 = {(1, 1), (1, 5), (1, 6)}
NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENONET}


class Try:
    """One fresh connection or datagram. ``verdict`` stays empty as long as nothing was heard."""

    __slots__ = ("cause", "connected", "firm", "latency", "peer", "responder", "status", "verdict")

    def __init__(self) -> None:
        self.verdict = self.cause = self.responder = self.peer = ""
        self.latency: float | None = None
        self.status: int | None = None
        self.connected = False
        self.firm = True

    def say(self, verdict: str, cause: str = "", firm: bool = True) -> None:
        """Set the verdict; one that is not firm wants a second attempt."""
        self.verdict, self.cause, self.firm = verdict, cause, firm


def icmp_error(sock: socket.socket) -> tuple[int, int, str] | None:
    """Return (type, code, sender) of the ICMP error on the socket's error queue."""
    try:
        _, ancillary, _, _ = sock.recvmsg(512, 512, MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)) and len(
            data
        ) >= 16:
            _, origin, icmp_type, code = struct.unpack_from("=IBBB", data)
            sender = ""
            if origin == 2 and len(data) >= 24:
                sender = socket.inet_ntop(socket.AF_INET, data[20:24])
            elif origin == 3 and len(data) >= 40:
                sender = socket.inet_ntop(socket.AF_INET6, data[24:40])
            if origin in (2, 3):
                return icmp_type, code, sender
    return None


def judge(outcome: Try, number: int, sock: socket.socket, stream: bool) -> None:
    """Turn an errno (and the ICMP message behind it) into the verdict of the attempt."""
    name = errno.errorcode.get(number, str(number))
    six = sock.family == socket.AF_INET6
    icmp = icmp_error(sock) if number in NO_WAY or number in (errno.ECONNREFUSED, errno.EACCES) else None
    said = f"ICMP{'v6' if six else ''} {icmp[0]}/{icmp[1]} from {icmp[2]}" if icmp else ""
    if number == errno.ECONNREFUSED:
        if icmp or not stream:
            outcome.say("refused", f"port unreachable ({said or name})")
        else:
            outcome.say("refused", "connection refused (RST)", firm=False)
    elif number == errno.EACCES or (icmp and icmp[:2] in (PROHIBITED_6 if six else PROHIBITED_4)):
        outcome.say("refused", f"administratively prohibited ({said or name})")
    elif number in NO_WAY:
        outcome.say("unreachable", f"{os.strerror(number)} ({said or name})")
    elif number == errno.EPERM:
        outcome.say("dropped", "a local filter refused to send (EPERM)")
    elif number in (errno.ECONNRESET, errno.EPIPE):
        outcome.say("refused", "reset after accept" if outcome.connected else "reset", firm=False)
    elif number == errno.ETIMEDOUT:
        pass  # silence, in the kernel's words
    else:
        outcome.say("probe-error", f"{os.strerror(number)} ({name})")


class Target:
    """What one cell asks for, with the name already resolved."""

    __slots__ = ("address", "expect", "family", "host", "http", "payload", "port", "protocol", "talk")

    def __init__(self, host: str, port: int, protocol: str, options: dict[str, Any]) -> None:
        self.host, self.port, self.protocol = host, port, protocol
        self.address, self.family = host, family_of(host)
        self.payload: int = options.get("l", 0)
        self.talk: bool = options.get("t", True)
        self.http: dict[str, Any] | None = options.get("http")
        self.expect: str = options.get("x") or ""


_nonces = itertools.count(1)
_nonce_base = os.urandom(6).hex()


def fresh_nonce() -> str:
    """Return a text that no other request carries."""
    return f"{_nonce_base}{next(_nonces):x}"


async def attempt(loop: Loop, target: Target, outcome: Try, deadline: float) -> None:
    """Make one fresh connection (or send one fresh datagram) and say what came of it."""
    began = now()
    kind, number = PROTOCOLS[target.protocol]
    try:
        sock = socket.socket(target.family, kind, number)
    except OSError as error:
        outcome.say("probe-error", f"no {target.protocol} socket: {error.strerror}")
        return
    stream = target.protocol != "UDP"
    try:
        sock.setblocking(False)
        # Without this Linux hides which ICMP message ended the attempt: admin-prohibited and host-unreachable
        # are one errno on IPv4.
        if target.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        error_number = sock.connect_ex((target.address, target.port))
        if error_number == errno.EINPROGRESS:
            if not await loop.io(sock, WRITE, deadline):
                return
            error_number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error_number:
            judge(outcome, error_number, sock, stream)
            return
        outcome.connected = stream
        if not target.talk and stream:
            outcome.latency = now() - began
            outcome.say("open", "connected")
        elif not stream:
            await ask_datagram(loop, sock, target, outcome, deadline)
        elif target.http is not None:
            await ask_http(Channel(loop, sock), target, outcome, deadline)
        else:
            await ask_line(Channel(loop, sock), target, outcome, deadline)
        if outcome.verdict in ("open", "http-denied"):
            outcome.latency = now() - began
    except Silence:
        pass
    except OSError as error:
        judge(outcome, error.errno or 0, sock, stream)
    finally:
        sock.close()


def check_answer(reply: Any, nonce: str, target: Target, outcome: Try, echo: bool) -> None:
    """Judge an answer by its nonce, its author and its echo."""
    if not isinstance(reply, dict) or reply.get("n") != nonce:
        outcome.say("probe-error", f"the answer is not from an agent: {str(reply)[:60]!r}")
        return
    outcome.responder, outcome.peer = reply.get("i", ""), reply.get("p", "")
    if target.expect and outcome.responder != target.expect:
        outcome.say("probe-error", f"answered by {outcome.responder}, not by {target.expect}")
    elif not echo:
        outcome.say("probe-error", f"the payload of {target.payload} bytes came back altered")
    else:
        outcome.say("open")


async def ask_line(channel: Channel, target: Target, outcome: Try, deadline: float) -> None:
    """Exchange one line (and a payload) over a stream."""
    nonce = fresh_nonce()
    payload = pattern(target.payload)
    request: dict[str, Any] = {"n": nonce, "q": 1}
    if payload:
        request.update(l=len(payload), e=1)
    await channel.send(json.dumps(request, separators=(",", ":")).encode() + b"\n" + payload, deadline)
    await channel.loop.io(channel.sock, READ, deadline)
    line = await channel.until(b"\n", deadline)
    echo = await channel.exactly(len(payload), deadline) if line is not None else None
    if line is None or echo is None:
        outcome.say("refused", "closed after accept, without an answer", firm=False)
        return
    try:
        reply = json.loads(line)
    except ValueError:
        reply = line
    check_answer(reply, nonce, target, outcome, echo == payload)


async def ask_datagram(
    loop: Loop, sock: socket.socket, target: Target, outcome: Try, deadline: float
) -> None:
    """Exchange one datagram; a stray one is passed over."""
    nonce = fresh_nonce()
    payload = pattern(target.payload)
    request = {"n": nonce, "e": 1} if payload else {"n": nonce}
    packet = json.dumps(request).encode() + b"\n" + payload
    sock.send(packet)
    while await loop.io(sock, READ, deadline):
        try:
            line, _, echo = sock.recv(65535).partition(b"\n")
            reply = json.loads(line)
        except BlockingIOError:
            continue
        except ValueError:
            continue  # a stray datagram
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            icmp_error(sock)
            sock.send(packet)  # the path's MTU is now known: the kernel fragments
            continue
        if isinstance(reply, dict) and reply.get("n") == nonce:
            check_answer(reply, nonce, target, outcome, echo == payload)
            return


async def ask_http(channel: Channel, target: Target, outcome: Try, deadline: float) -> None:
    """Make one HTTP request and judge the answer by its head."""
    http = target.http or {}
    nonce = fresh_nonce()
    body = str(http.get("body", "")).encode()
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {
        "Host": f"{host}:{target.port}",
        "User-Agent": "cniconformance",
        "Connection": "close",
        "cni-nonce": nonce,
    }
    method = http.get("method", "GET")
    if body or method in ("POST", "PUT", "PATCH"):
        headers["Content-Length"] = str(len(body))
    headers.update(http.get("headers") or {})
    lines = [f"{method} {http.get('path', '/')} HTTP/1.1"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    await channel.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body, deadline)
    head = await channel.until(b"\r\n\r\n", deadline)
    if head is None:
        outcome.say("refused", "closed after accept, without an answer", firm=False)
        return
    first, *rest = head.decode("latin-1").split("\r\n")
    seen = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        outcome.say("probe-error", f"the answer is not HTTP: {first[:60]!r}")
        return
    outcome.status, outcome.responder, outcome.peer = (
        int(words[1]),
        seen.get("cni-responder", ""),
        seen.get("cni-peer", ""),
    )
    if outcome.status == 403:
        outcome.say("http-denied", f"answered by {seen.get('server') or 'an intermediary'}")
    elif outcome.responder and seen.get("cni-nonce") != nonce:
        outcome.say("probe-error", "the answer is to another request")
    elif target.expect and outcome.responder != target.expect:
        who = outcome.responder or seen.get("server") or "an intermediary"
        outcome.say("probe-error", f"answered by {who}, not by {target.expect}")
    elif outcome.status >= 500 and not outcome.responder:
        # A proxy that cannot reach the server: neither open nor proof of a deny.
        outcome.say("probe-error", f"HTTP {outcome.status} from {seen.get('server') or 'an intermediary'}")
    else:
        outcome.say("open")


# --- A batch of cells -----------------------------------------------------------------------------


class Cell:
    """One cell of a batch: staggered attempts until one is answered or the window has passed."""

    def __init__(self, host: str, port: int, protocol: str, options: dict[str, Any]) -> None:
        self.target = Target(host, port, protocol, options)
        self.wanted_family = options.get("f", 0)
        self.tries: list[Try] = []
        self.attempts = 0
        self.result: list[Any] | None = None
        self.silent = False
        self.at = 0.0

    def settle(
        self,
        verdict: str,
        cause: str,
        outcome: Try | None,
        window: float,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Set the row that is reported: verdict, cause, microseconds, and so on as the host side names them."""
        row = [
            verdict,
            cause,
            None if outcome is None or outcome.latency is None else round(outcome.latency * 1e6),
            self.attempts,
            outcome.responder if outcome else "",
            outcome.peer if outcome else "",
            outcome.status if outcome else None,
            self.target.address if self.target.family else "",
            round(window * 1000),
            round(self.at or time.time(), 6),
            extra,
        ]
        while row[-1] in (None, ""):
            row.pop()
        self.result = row

    async def run(self, loop: Loop, window: float) -> None:
        """Make up to three attempts, a third of the window apart, all left open until its end."""
        began = now()
        self.at = time.time()
        self.silent = False
        self.tries = []
        running: list[Task] = []
        end = began + window
        # A standing connection proves the path, so its answer may come late: the far side may be short of processor.
        last = began + 4 * window
        try:
            for number in (1, 2, 3):
                outcome = Try()
                self.tries.append(outcome)
                self.attempts += 1
                task = loop.spawn(attempt(loop, self.target, outcome, last))
                running.append(task)
                pause = began + window * number / 3
                while now() < pause and not task.done:
                    await loop.wait_any(running, pause)
                    if self._decided(window):
                        return
                if self._decided(window):
                    return
            while now() < end or (now() < last and any(t.connected and not t.verdict for t in self.tries)):
                await loop.wait_any(running, end if now() < end else last)
                if self._decided(window):
                    return
            self._close(window)
        finally:
            for task in running:
                loop.cancel(task)

    def _decided(self, window: float) -> bool:
        failed = []
        for outcome in self.tries:
            if outcome.verdict in ("open", "http-denied"):
                self.settle(outcome.verdict, outcome.cause, outcome, window)
                return True
            if outcome.verdict:
                failed.append(outcome)
        # One RST may be an accident; an ICMP error quotes our packet, and kernels ration them.
        if failed and (len(failed) > 1 or failed[0].firm):
            self.settle(failed[-1].verdict, failed[-1].cause, failed[-1], window)
            return True
        return False

    def _close(self, window: float) -> None:
        failed = [outcome for outcome in self.tries if outcome.verdict]
        if failed:
            self.settle(
                failed[0].verdict,
                f"{failed[0].cause}, once in {len(self.tries)} attempts",
                failed[0],
                window,
            )
            return
        self.silent = True
        stood = any(outcome.connected for outcome in self.tries)
        cause = "connected, then silence" if stood else "no answer"
        self.settle("dropped", cause, None, window, {"connected": True} if stood else None)


class Prober:
    """Runs batches, with controls: a listener of its own, a closed port of its own, and the lag of the loop."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop = loop
        self.addresses = own_addresses()
        self.server = Server(loop, f"control of {identity}")
        self.control_tcp = self.server.listen("TCP", 0)
        self.control_udp = self.server.listen("UDP", 0)
        self.closed: dict[int, tuple[socket.socket, int]] = {}
        for family, loopback in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if not self.addresses[family] and not self._bound(family, loopback):
                continue
            self.addresses[family] = self.addresses[family] or [loopback]
            found = self._bound(family, "0.0.0.0" if family == socket.AF_INET else "::")
            if found:
                self.closed[family] = found

    @staticmethod
    def _bound(family: int, address: str) -> tuple[socket.socket, int] | None:
        # Bound but not listening: nobody else can take the port, and the kernel refuses connections to it.
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.bind((address, 0))
            return sock, int(sock.getsockname()[1])
        except OSError:
            return None

    async def control(self, families: set[int], udp: bool, when: str, window: float) -> str:
        """Probe the own listener through the own address; return what went wrong, or an empty string."""
        checks = []
        for family in families:
            address = self.addresses[family][0]
            for protocol, port in (("TCP", self.control_tcp), ("UDP", self.control_udp))[: 2 if udp else 1]:
                outcome = Try()
                target = Target(address, port, protocol, {"x": self.server.identity})
                task = self.loop.spawn(attempt(self.loop, target, outcome, now() + window))
                checks.append((outcome, f"{protocol} control probe to the own address {address}", task))
        for outcome, name, task in checks:
            await self.loop.join(task)
            if outcome.verdict != "open":
                said = outcome.cause or outcome.verdict or "no answer"
                return f"the {name} failed at the {when} of the window: {said}"
        return ""

    async def negative(self, families: set[int], window: float) -> str:
        """Probe a closed port of one's own: it must be refused, or no refusal means anything."""
        for family in families:
            if family in self.closed:
                outcome = Try()
                target = Target(self.addresses[family][0], self.closed[family][1], "TCP", {"t": False})
                await attempt(self.loop, target, outcome, now() + window)
                if outcome.verdict != "refused":
                    said = outcome.verdict or "silent"
                    return f"a closed port of the own address was {said}, not refused"
        return ""

    async def resolve_names(self, cells: list[Cell], limit: float) -> None:
        """Resolve the names of a batch by the system resolver, each once, all at a time."""
        names: dict[tuple[str, int], Task] = {}
        for cell in cells:
            if not cell.target.family:
                key = (cell.target.host, cell.wanted_family)
                if key not in names:
                    family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(key[1], socket.AF_UNSPEC)
                    names[key] = self.loop.spawn(
                        self.loop.thread(
                            now() + limit, socket.getaddrinfo, key[0], None, family, socket.SOCK_STREAM
                        )
                    )
        for cell in cells:
            if cell.target.family:
                continue
            cause = f"the resolver gave no answer in {limit * 1000:.0f} ms"
            try:
                found = await self.loop.join(names[cell.target.host, cell.wanted_family])
                if found:
                    cell.target.family, cell.target.address = int(found[0][0]), found[0][4][0]
                    continue
            except OSError as error:
                cause = str(error.strerror or error)
            cell.settle("dns-failed", f"{cell.target.host}: {cause}", None, limit)

    async def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Probe all cells at once. Silence is believed only where the controls vouch for it."""
        window = request["w"] / 1000.0
        cells = [Cell(row[0], row[1], row[2], row[3] if len(row) > 3 else {}) for row in request["cells"]]
        await self.resolve_names(cells, request.get("dns", 5000) / 1000.0)
        rounds = []
        for number in range(request.get("rounds", 3)):
            todo = [cell for cell in cells if cell.result is None or cell.silent]
            if not todo:
                break
            doubt, lag = await self.round(todo, window)
            silent = sum(cell.silent for cell in todo)
            rounds.append(
                {"w": round(window * 1000), "lag": round(lag * 1000, 2), "silent": silent, "doubt": doubt}
            )
            for cell in todo:
                if doubt and cell.result and cell.result[0] not in ("open", "http-denied"):
                    self.doubt(cell, doubt, window, number)
            if not doubt:
                for cell in todo:
                    cell.silent = False
                break
            window *= 2
        return {"r": [cell.result for cell in cells], "rounds": rounds}

    @staticmethod
    def doubt(cell: Cell, doubt: str, window: float, number: int) -> None:
        """Mark the cell to be probed again; after the last round the mark stands as a probe error."""
        said = cell.result[0] if cell.result else ""
        if said == "dns-failed" or (said == "probe-error" and not cell.silent):
            return
        cell.silent = True
        cell.settle("probe-error", f"{cell.target.host} seemed {said}, but {doubt}", None, window)

    async def round(self, cells: list[Cell], window: float) -> tuple[str, float]:
        """Probe these cells once; return why they cannot be vouched for (or an empty string) and the loop's lag."""
        loop = self.loop
        families = {cell.target.family for cell in cells if self.addresses[cell.target.family]}
        if not families:
            families = {family for family, found in self.addresses.items() if found}
        udp = any(cell.target.protocol == "UDP" for cell in cells)
        lag = [0.0]
        watch = loop.spawn(self._watch(lag, window / 20))
        began = now()
        running = [loop.spawn(cell.run(loop, window)) for cell in cells]
        controls = [
            loop.spawn(self.control(families, udp, "start", window)),
            loop.spawn(self.negative(families, window)),
        ]
        middle = loop.spawn(self._later(began + window / 2, families, udp, window))
        for task in running:
            await loop.join(task)
        doubts = [await loop.join(task) for task in controls]
        if any(cell.silent for cell in cells):
            doubts.append(await loop.join(middle))
            doubts.append(await self.control(families, udp, "end", window))
        loop.cancel(middle)
        loop.cancel(watch)
        if any(cell.silent for cell in cells) and lag[0] >= window / 4:
            lagged = f"its loop lagged {lag[0] * 1e3:.0f} ms in a window of {window * 1e3:.0f} ms"
            doubts.append(f"the prober was starved: {lagged}")
        return next((doubt for doubt in doubts if doubt), ""), lag[0]

    async def _later(self, moment: float, families: set[int], udp: bool, window: float) -> str:
        await self.loop.suspend(moment)
        return await self.control(families, udp, "middle", window)

    async def _watch(self, lag: list[float], step: float) -> None:
        while True:
            due = now() + step
            await self.loop.suspend(due)
            lag[0] = max(lag[0], now() - due)

    async def connect_many(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open ``n`` fresh connections, at most ``parallel`` at a time; count responders, verdicts and causes."""
        window = request["w"] / 1000.0
        targets = [Cell(request["host"], request["port"], request.get("proto", "TCP"), request.get("o", {}))]
        await self.resolve_names(targets, 5.0)
        target = targets[0].target
        if not target.family:
            return {
                "verdicts": {"dns-failed": request["n"]},
                "causes": {str((targets[0].result or [0, ""])[1]): request["n"]},
            }
        tries = [Try() for _ in range(request["n"])]
        waiting = list(tries)

        async def work() -> None:
            while waiting:
                await attempt(self.loop, target, waiting.pop(), now() + window)

        lag = [0.0]
        watch = self.loop.spawn(self._watch(lag, window / 20))
        workers = [self.loop.spawn(work()) for _ in range(min(request.get("parallel", 256), request["n"]))]
        for task in workers:
            await self.loop.join(task)
        self.loop.cancel(watch)
        return {
            "responders": dict(collections.Counter(t.responder for t in tries if t.responder)),
            "verdicts": dict(collections.Counter(t.verdict or "silent" for t in tries)),
            "causes": dict(collections.Counter(t.cause for t in tries if t.cause)),
            "us": [None if t.latency is None else round(t.latency * 1e6) for t in tries],
            "lag": round(lag[0] * 1000, 2),
        }


# --- DNS by hand ----------------------------------------------------------------------------------

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "ANY": 255,
}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def dns_query(identifier: int, name: str, kind: int) -> bytes:
    """Return a query message with one question, recursion desired."""
    labels = [
        label.encode("idna" if not label.isascii() else "ascii")
        for label in name.rstrip(".").split(".")
        if label
    ]
    question = b"".join(bytes([len(label)]) + label for label in labels)
    return struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + question + b"\0" + struct.pack("!2H", kind, 1)


def dns_name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset, compression resolved, and the offset after it."""
    labels: list[str] = []
    after = -1
    for _ in range(128):
        length = data[at]
        if length >= 0xC0:
            after = at + 2 if after < 0 else after
            at = ((length & 0x3F) << 8) | data[at + 1]
        elif length == 0:
            return ".".join(labels) + ".", (at + 1 if after < 0 else after)
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii", "backslashreplace"))
            at += 1 + length
    raise ValueError("a name that points to itself")


def dns_parse(data: bytes) -> dict[str, Any]:
    """Return rcode, flags and answers of a DNS message. Raises ValueError, IndexError or struct.error."""
    _, flags, questions, answers = struct.unpack_from("!4H", data)
    at = 12
    for _ in range(questions):
        at = dns_name(data, at)[1] + 4
    found = []
    for _ in range(answers):
        name, at = dns_name(data, at)
        kind, _, ttl, size = struct.unpack_from("!2HIH", data, at)
        at += 10
        raw = data[at : at + size]
        if kind == 1:
            value: Any = socket.inet_ntop(socket.AF_INET, raw)
        elif kind == 28:
            value = socket.inet_ntop(socket.AF_INET6, raw)
        elif kind in (2, 5, 12):
            value = dns_name(data, at)[0]
        elif kind == 33:
            value = [*struct.unpack_from("!3H", data, at), dns_name(data, at + 6)[0]]
        elif kind == 16:
            value, spot = [], 0
            while spot < len(raw):
                value.append(raw[spot + 1 : spot + 1 + raw[spot]].decode("utf-8", "backslashreplace"))
                spot += 1 + raw[spot]
        else:
            value = raw.hex()
        found.append({"name": name, "type": TYPE_NAMES.get(kind, str(kind)), "ttl": ttl, "value": value})
        at += size
    return {
        "rcode": RCODES.get(flags & 15, str(flags & 15)),
        "answers": found,
        "truncated": bool(flags & 0x0200),
        "authoritative": bool(flags & 0x0400),
    }


def resolv_conf(path: str = "/etc/resolv.conf") -> dict[str, Any]:
    """Return nameservers, search path and ndots as a resolver would read them."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    try:
        with open(path) as file:
            for line in file:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    servers.append(words[1])
                elif len(words) > 1 and words[0] in ("search", "domain"):
                    search = words[1:]
                elif words and words[0] == "options":
                    ndots = next(
                        (int(w[6:]) for w in words if w.startswith("ndots:") and w[6:].isdigit()), ndots
                    )
    except OSError:
        pass
    return {"nameservers": servers, "search": search, "ndots": ndots}


def candidates(name: str, config: dict[str, Any]) -> list[str]:
    """Return the names that a resolver tries for this one, in its order."""
    if name.endswith("."):
        return [name]
    tail = [f"{name}.{domain.rstrip('.')}." for domain in config["search"]]
    return [name + ".", *tail] if name.count(".") >= config["ndots"] else [*tail, name + "."]


async def dns_ask(
    loop: Loop, server: str, port: int, name: str, kind: str, tcp: bool, wait: float
) -> dict[str, Any]:
    """Send one query (over UDP up to three times within ``wait`` seconds) and return the parsed answer."""
    began = now()
    result: dict[str, Any] = {
        "name": name,
        "server": server,
        "tcp": tcp,
        "rcode": "",
        "answers": [],
        "truncated": False,
    }
    identifier = struct.unpack("!H", os.urandom(2))[0]
    query = dns_query(identifier, name, TYPES[kind])
    sock = socket.socket(
        family_of(server) or socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    )
    try:
        sock.setblocking(False)
        number = sock.connect_ex((server, port))
        if number == errno.EINPROGRESS:
            if not await loop.io(sock, WRITE, began + wait):
                raise Silence
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        if tcp:
            channel = Channel(loop, sock)
            await channel.send(struct.pack("!H", len(query)) + query, began + wait)
            size = await channel.exactly(2, began + wait)
            data = await channel.exactly(struct.unpack("!H", size)[0], began + wait) if size else None
            if not data:
                raise OSError(errno.ECONNRESET, "closed without an answer")
        else:
            data = b""
            for number in (1, 2, 3):
                sock.send(query)
                while not data and await loop.io(sock, READ, began + wait * number / 3):
                    packet = sock.recv(65535)
                    data = packet if packet[:2] == query[:2] else b""
                if data:
                    break
            if not data:
                raise Silence
        result.update(dns_parse(data))
    except Silence:
        result["error"] = f"no answer in {wait * 1000:.0f} ms"
    except (ValueError, IndexError, struct.error) as error:
        result["error"] = f"the answer is malformed: {error}"
    except OSError as error:
        result["error"] = error.strerror or str(error)
    finally:
        sock.close()
    result["us"] = round((now() - began) * 1e6)
    return result


async def op_resolve(loop: Loop, request: dict[str, Any]) -> dict[str, Any]:
    """Resolve by the system (``via: system``) or by hand, along the search path unless ``search`` is false."""
    name, wait = request["name"], request.get("wait", 2000) / 1000.0
    if request.get("via") == "system":
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(request.get("f", 0), socket.AF_UNSPEC)
        began = now()
        try:
            found = await loop.thread(
                began + wait, socket.getaddrinfo, name, None, family, socket.SOCK_STREAM
            )
        except OSError as error:
            return {
                "addresses": [],
                "error": error.strerror or str(error),
                "us": round((now() - began) * 1e6),
            }
        us = round((now() - began) * 1e6)
        if found is None:
            return {"addresses": [], "error": f"no answer in {wait * 1000:.0f} ms", "us": us}
        return {"addresses": list(dict.fromkeys(entry[4][0] for entry in found)), "us": us}
    config = resolv_conf()
    server = request.get("server") or next(iter(config["nameservers"]), "127.0.0.1")
    names = candidates(name, config) if request.get("search", True) else [name.rstrip(".") + "."]
    steps = []
    for candidate in names:
        step = await dns_ask(
            loop,
            server,
            request.get("port", 53),
            candidate,
            request.get("type", "A"),
            request.get("tcp", False),
            wait,
        )
        steps.append(step)
        if step["rcode"] == "NOERROR" and step["answers"]:
            break
    final = (
        steps[-1] if steps[-1]["answers"] else next((s for s in steps if s["rcode"] == "NOERROR"), steps[-1])
    )
    return {"final": final, "steps": steps, "config": config}


# --- Measuring: blocking sockets in a thread, which cost the least time between packet and clock --


def dial(host: str, port: int, protocol: str, wait: float) -> socket.socket:
    """Return a connected blocking socket whose waits end after ``wait`` seconds in the kernel."""
    info = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM)[
        0
    ]
    sock = socket.socket(info[0], *PROTOCOLS[protocol])
    try:
        timeval = struct.pack("@ll", int(wait), int(wait % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        if protocol == "TCP":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(info[4])
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


class Hold:
    """A flow that is kept going: one connection (or fresh ones), one exchange per interval, outages noted."""

    def __init__(self, loop: Loop, request: dict[str, Any]) -> None:
        self.loop, self.fresh = loop, request.get("fresh", False)
        self.interval, self.patience = (
            request.get("interval", 20) / 1000.0,
            request.get("patience", 200) / 1000.0,
        )
        self.target = Target(
            request["host"], request["port"], request.get("proto", "TCP"), request.get("o", {})
        )
        if not self.target.family:
            raise ValueError(f"a held flow needs an IP address, not {self.target.host!r}")
        self.began, self.epoch = now(), time.time()
        self.sent = self.answered = 0
        self.up: bool | None = None
        self.ended = ""
        self.events: list[list[Any]] = []
        self.responders: collections.Counter[str] = collections.Counter()
        self.task = loop.spawn(self._fresh() if self.fresh else self._kept())

    def mark(self, up: bool, cause: str, moment: float) -> None:
        """Note a change between up and down."""
        if up != self.up and len(self.events) < 10000:
            self.up = up
            self.events.append([round((moment - self.began) * 1000, 3), "up" if up else "down", cause])

    def status(self) -> dict[str, Any]:
        """Return what was seen so far; event times are milliseconds since the start."""
        return {
            "up": bool(self.up),
            "ended": self.ended,
            "sent": self.sent,
            "answered": self.answered,
            "events": list(self.events),
            "responders": dict(self.responders),
            "ms": round((now() - self.began) * 1000, 3),
            "epoch": self.epoch,
        }

    async def _fresh(self) -> None:
        while True:
            start = now()
            outcome = Try()
            self.sent += 1
            await attempt(self.loop, self.target, outcome, start + self.patience)
            self.answered += outcome.verdict == "open"
            if outcome.responder:
                self.responders[outcome.responder] += 1
            self.mark(outcome.verdict == "open", outcome.cause or outcome.verdict or "no answer", start)
            if now() < start + self.interval:
                await self.loop.suspend(start + self.interval)

    async def _kept(self) -> None:
        loop, target = self.loop, self.target
        sock = socket.socket(target.family, *PROTOCOLS[target.protocol])
        try:
            sock.setblocking(False)
            number = sock.connect_ex((target.address, target.port))
            if number == errno.EINPROGRESS:
                if not await loop.io(sock, WRITE, now() + max(3.0, self.patience)):
                    raise OSError(errno.ETIMEDOUT, "no answer to the handshake")
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            await self._exchange(sock)
        except Silence:
            self.ended = "the send buffer stayed full"
        except OSError as error:
            self.ended = error.strerror or str(error)
        finally:
            sock.close()
            if self.ended:  # else it was stopped, which is no outage
                self.mark(False, self.ended, now())

    async def _exchange(self, sock: socket.socket) -> None:
        channel = Channel(self.loop, sock)
        while True:
            start = now()
            line = b"=%d\n" % self.sent
            self.sent += 1
            try:
                await channel.send(line, start + 60)
                while True:
                    if self.target.protocol == "UDP":
                        channel.buffer = b""
                    heard = await channel.until(b"\n", start + self.patience)
                    if heard is None:
                        raise OSError(errno.ECONNRESET, "closed by the other end")
                    self.answered += 1
                    self.mark(True, "", now())
                    if heard == line:
                        break
            except Silence:
                self.mark(False, f"no answer in {self.patience * 1000:.0f} ms", start)
            except OSError as error:
                if self.target.protocol != "UDP":
                    raise
                self.mark(False, error.strerror or str(error), start)
            if now() < start + self.interval:
                await self.loop.suspend(start + self.interval)


# --- The session on stdin and stdout --------------------------------------------------------------


class Session:
    """Reads requests, runs them side by side, writes one line per answer."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop, self.identity = loop, identity
        self.prober = Prober(loop, identity)
        self.holds: dict[int, Hold] = {}

    def greeting(self) -> dict[str, Any]:
        """Return the first line of a session."""
        return {
            "hello": "cniconformance-agent",
            "version": VERSION,
            "python": ".".join(map(str, sys.version_info[:3])),
            "identity": self.identity,
            "ips": [ip for found in own_addresses().values() for ip in found],
            "protocols": available_protocols(),
            "kernel": os.uname().release,
            "pid": os.getpid(),
        }

    @staticmethod
    def write(message: dict[str, Any]) -> None:
        """Write one line to stdout."""
        view = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        while view:
            view = view[os.write(1, view) :]

    async def handle(self, request: dict[str, Any]) -> None:
        """Answer one request; an error is an answer too."""
        reply: dict[str, Any] = {"id": request.get("id")}
        try:
            reply.update(await self.dispatch(request.get("op", ""), request))
        except Exception as error:
            reply["error"] = f"{type(error).__name__}: {error}"
        self.write(reply)

    async def dispatch(self, op: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation."""
        if op == "probe":
            return await self.prober.batch(request)
        if op == "ping":
            return {"pong": time.time()}
        if op == "connect_many":
            return await self.prober.connect_many(request)
        if op == "resolve":
            return await op_resolve(self.loop, request)
        blocking = {"rtt": measure_rtt, "stream": measure_stream, "http_session": http_session}.get(op)
        if blocking is not None:
            return dict(await self.loop.thread(None, blocking, request))
        if op == "hold":
            number = len(self.holds) + 1
            self.holds[number] = Hold(self.loop, request)
            return {"hold": number}
        if op in ("hold_status", "hold_stop"):
            hold = self.holds[request["hold"]]
            status = hold.status()
            if op == "hold_stop":
                self.loop.cancel(hold.task)
            return status
        if op in ("ports", "counters"):
            return await self.own_server(request)
        raise ValueError(f"unknown operation {op!r}")

    async def own_server(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the pod's own server for its ports and counters."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(control_name(request.get("identity") or self.identity))
            sock.setblocking(False)
            line = await Channel(self.loop, sock).until(b"\n", now() + 5)
        except OSError as error:
            raise OSError(error.errno, f"the pod's own server does not run: {error.strerror}") from error
        finally:
            sock.close()
        facts: dict[str, Any] = json.loads(line or b"{}")
        if not request.get("recent"):
            facts.pop("recent", None)
        return facts

    async def run(self) -> None:
        """Greet, then read requests until the end of stdin, ``quit``, or a minute of quiet."""
        self.write(self.greeting())
        buffer = b""
        stdin: Any = _Descriptor(0)
        while True:
            # SIGALRM ends the process, whatever it is doing: also while it blocks in a write that nobody reads.
            signal.alarm(IDLE_EXIT)
            await self.loop.io(stdin, READ, None)
            data = os.read(0, 1 << 20)
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                if line.strip():
                    request = json.loads(line)
                    if request.get("op") == "quit":
                        self.write({"id": request.get("id"), "bye": True})
                        return
                    self.loop.spawn(self.handle(request))


class _Descriptor:
    """A bare file descriptor, as a selector wants it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


async def main_serve(loop: Loop, server: Server, wanted: list[tuple[str, int]]) -> None:
    """Listen, say so on stdout, and answer until killed."""
    listener = bind_control(server.identity)
    for protocol, port in wanted:
        server.listen(protocol, port)
    addresses = [address for found in own_addresses().values() for address in found]
    print(json.dumps({"serving": server.identity, "ports": server.ports, "ips": addresses}), flush=True)
    await loop.join(loop.spawn(serve_control(loop, server, listener)))


def leave(*_: Any) -> None:
    """End at once: there is nothing to save."""
    os._exit(0)


def main(argv: list[str]) -> int:
    """Run ``serve`` or ``probe``; see the module's first lines."""
    identity = os.environ.get("CNI_IDENTITY") or socket.gethostname()
    wanted: list[tuple[str, int]] = []
    arguments = iter(argv[1:])
    try:
        mode = argv[0]
        for option in arguments:
            name, _, value = option.partition("=")
            value = value or next(arguments)
            if name == "--listen":
                protocol, _, port = value.partition(":")
                wanted.append((protocol.upper(), int(port)))
                PROTOCOLS[protocol.upper()]
            elif name == "--http":
                wanted.append(("TCP", int(value)))
            elif name == "--identity":
                identity = value
            else:
                raise ValueError(option)
        if mode not in ("serve", "probe"):
            raise ValueError(mode)
    except (IndexError, StopIteration, ValueError, KeyError) as error:
        print(
            f"usage: agent.py serve|probe [--listen PROTOCOL:PORT]... [--http PORT] [--identity NAME]: {error!r}",
            file=sys.stderr,
        )
        return 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16) if hard > 0 else 1 << 16, hard))
    loop = Loop()
    try:
        if mode == "probe":
            loop.run(Session(loop, identity).run())
        else:
            # Process 1 of a pod ignores SIGTERM unless it says otherwise, and would be waited for until its grace ends.
            signal.signal(signal.SIGTERM, leave)
            signal.signal(signal.SIGINT, leave)
            loop.run(main_serve(loop, Server(loop, identity), list(dict.fromkeys(wanted))))
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"agent: {error.strerror or error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    os._exit(0)  # threads may still wait for a resolver


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
