# SPDX-License-Identifier: Apache-2.0
"""Paths that are watched while something happens to them, with a control that vouches for the watcher.

Paths are given, or announced by a pod that has just begun to live: its beacon is a datagram with its addresses and
a port, and the first attempt leaves as soon as the first beacon has arrived, before any API could tell the address.
"""

from __future__ import annotations

import json
import socket

from .addresses import family_of
from .controls import Controls
from .loop import READ, Loop, now
from .pace import Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL_EVERY = 5


class Watch:
    """Paces to any number of destinations, and one to a listener of the prober's own."""

    def __init__(self, loop: Loop, controls: Controls, request: dict[str, Any]) -> None:
        self.loop = loop
        self.interval, self.window = request.get("interval", 10) / 1000.0, request["w"] / 1000.0
        self.paths: dict[str, Pace] = {}
        self.heard: dict[str, float] = {}
        for host, port in request.get("paths", ()):
            self.add(host, port)
        families = [family for family, found in controls.addresses.items() if found]
        own, port = controls.addresses[families[0]][0], controls.listeners["TCP"]
        self.control = Pace(loop, own, port, self.interval * CONTROL_EVERY, self.window)
        self.beacon_port = 0
        if request.get("beacon"):
            family = socket.AF_INET6 if request["beacon"] == 6 else socket.AF_INET
            self.beacon = socket.socket(family, socket.SOCK_DGRAM)
            self.beacon.setblocking(False)
            self.beacon.bind(("", 0))
            self.beacon_port = self.beacon.getsockname()[1]
            self.listening = loop.spawn(self._listen(self.beacon))

    def add(self, host: str, port: int) -> None:
        """Watch one more path; one that is watched already goes on as it is."""
        name = f"{host} {port}"
        if name not in self.paths:
            self.paths[name] = Pace(self.loop, host, port, self.interval, self.window)

    def status(self) -> dict[str, Any]:
        """Return what was seen so far. ``now`` is the clock on which all its times are."""
        return {
            "paths": {name: pace.facts() for name, pace in self.paths.items()},
            "heard": {name: round(moment, 6) for name, moment in self.heard.items()},
            "control": self.control.facts(),
            "beacon": self.beacon_port,
            "now": round(now(), 6),
        }

    def stop(self) -> None:
        """Send no more."""
        for pace in (self.control, *self.paths.values()):
            pace.stop()
        if self.beacon_port:
            self.loop.cancel(self.listening)
            self.beacon.close()

    async def _listen(self, sock: socket.socket) -> None:
        while True:
            await self.loop.io(sock, READ, None)
            try:
                said = json.loads(sock.recv(2048))
                host = next(ip for ip in said["ips"] if family_of(ip) == sock.family)
                self.add(host, said["port"])
                self.heard.setdefault(f"{host} {said['port']}", now())
            except (OSError, ValueError, KeyError, TypeError, StopIteration):
                continue  # not a beacon of ours
