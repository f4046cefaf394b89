# SPDX-License-Identifier: Apache-2.0
"""The session on stdin and stdout: a greeting, then one answer per request."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from .addresses import available_protocols, own_addresses
from .control import ask_control
from .dns import op_resolve, resolv_conf
from .echo import op_echo
from .hold import Hold
from .lookups import op_lookups
from .loop import READ, Loop
from .measure import http_session, measure_rtt, measure_stream
from .neighbours import link_owners
from .prober import Prober
from .server import Server
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
IDLE_EXIT = 60  # seconds without a line on stdin: the other end is gone, leave no orphan in the pod
MEASUREMENTS = {
    "rtt": measure_rtt,
    "stream": measure_stream,
    "http_session": http_session,
    "owners": link_owners,
}


class Session:
    """Reads requests, runs them side by side, writes one line per answer."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop, self.identity = loop, identity
        self.prober = Prober(loop, identity)
        self.holds: dict[int, Hold] = {}
        self.server = Server(loop, identity)
        """Ports that are served beside those of the pod's own server, for as long as the session lasts."""
        self.watches: dict[int, Watch] = {}

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
        if op == "resolv_conf":
            return resolv_conf()
        if op == "lookups":
            return await op_lookups(self.loop, request)
        if op in MEASUREMENTS:
            return dict(await self.loop.thread(None, MEASUREMENTS[op], request))
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
        if op == "echo":
            return await op_echo(self.loop, request)
        if op == "listen":
            return {"port": self._listen(request.get("proto", "TCP"), request.get("port", 0))}
        if op in ("watch", "watch_add", "watch_status", "watch_stop"):
            return self._watch(op, request)
        if op in ("ports", "counters"):
            patience = request.get("wait", 5000) / 1000.0
            facts = await ask_control(self.loop, request.get("identity") or self.identity, patience)
            if not request.get("recent"):
                facts.pop("recent", None)
            return facts
        raise ValueError(f"unknown operation {op!r}")

    def _listen(self, protocol: str, port: int) -> int:
        if (protocol, port) in self.server.ports:
            return port
        return self.server.listen(protocol, port)

    def _watch(self, op: str, request: dict[str, Any]) -> dict[str, Any]:
        number = request["watch"] if op != "watch" else len(self.watches) + 1
        if op == "watch":
            self.watches[number] = Watch(self.loop, self.prober.controls, request)
        elif op == "watch_add":
            self.watches[number].add(request["host"], request["port"])
        elif op == "watch_stop":
            self.watches[number].stop()
        return {"watch": number, **self.watches[number].status()}

    async def run(self) -> None:
        """Greet, then read requests until the end of stdin, ``quit``, or a minute of quiet."""
        self.write(self.greeting())
        buffer = b""
        while True:
            # SIGALRM ends the process, whatever it is doing: also while it blocks in a write that nobody reads.
            signal.alarm(IDLE_EXIT)
            await self.loop.io(0, READ, None)
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
