# SPDX-License-Identifier: Apache-2.0
"""A flow that is kept going while something else happens."""

from __future__ import annotations

import collections
import errno
import json
import os
import socket
import time

from .addresses import PROTOCOLS
from .attempt import attempt
from .channel import Channel, Silence, connect
from .judgement import Try
from .loop import Loop, now
from .target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Hold:
    """A flow that is kept going: one connection (or fresh ones), one exchange per interval, outages noted."""

    def __init__(self, loop: Loop, request: dict[str, Any]) -> None:
        self.loop, self.fresh = loop, request.get("fresh", False)
        self.interval = request.get("interval", 20) / 1000.0
        self.patience = request.get("patience", 200) / 1000.0
        protocol, options = request.get("proto", "TCP"), request.get("o", {})
        self.target = Target(request["host"], request["port"], protocol, options)
        if not self.target.family:
            raise ValueError(f"a held flow needs an IP address, not {self.target.host!r}")
        self.began, self.epoch = now(), time.time()
        self.sent = self.answered = 0
        self.up: bool | None = None
        self.ended = ""
        self.last = ""
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
            "last": self.last,
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
                self.last = outcome.responder
                self.responders[self.last] += 1
            self.mark(outcome.verdict == "open", outcome.cause or outcome.verdict or "no answer", start)
            if now() < start + self.interval:
                await self.loop.suspend(start + self.interval)

    async def _kept(self) -> None:
        target = self.target
        sock = socket.socket(target.family, *PROTOCOLS[target.protocol])
        try:
            sock.setblocking(False)
            address = (target.address, target.port)
            number = await connect(self.loop, sock, address, now() + max(3.0, self.patience))
            if number:
                raise OSError(number, os.strerror(number))
            await self._exchange(sock)
        except Silence:
            self.ended = "no answer to the handshake"
        except (OSError, ValueError) as error:
            self.ended = getattr(error, "strerror", None) or str(error)
        finally:
            sock.close()
            if self.ended:  # else it was stopped, which is no outage
                self.mark(False, self.ended, now())

    async def _exchange(self, sock: socket.socket) -> None:
        channel = Channel(self.loop, sock)
        while True:
            start = now()
            nonce = self.sent
            line = b'{"n":%d}\n' % nonce
            self.sent += 1
            try:
                await channel.send(line, start + 60)
                while True:
                    if self.target.protocol == "UDP":
                        channel.buffer = b""
                    heard = await channel.until(b"\n", start + self.patience)
                    if heard is None:
                        raise OSError(errno.ECONNRESET, "closed by the other end")
                    reply = json.loads(heard)
                    self.answered += 1
                    self.last = reply.get("i", "")
                    self.responders[self.last] += 1
                    self.mark(True, "", now())
                    if reply.get("n") == nonce:
                        break
            except Silence:
                self.mark(False, f"no answer in {self.patience * 1000:.0f} ms", start)
            except OSError as error:
                if self.target.protocol != "UDP":
                    raise
                self.mark(False, error.strerror or str(error), start)
            if now() < start + self.interval:
                await self.loop.suspend(start + self.interval)
