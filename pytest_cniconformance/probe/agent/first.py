# SPDX-License-Identifier: Apache-2.0
"""The first packets of a pod: an init container that connects, listens and calls from its first instant.

It goes on until it is stopped, and tells what it saw as one JSON line every quarter of a second: its own log of
attempts is the evidence that it fired when there was something to see.
"""

from __future__ import annotations

import json
import os
import socket
import time

from .addresses import family_of, own_addresses
from .loop import Loop, now
from .pace import Pace
from .server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAST, CALM, CALM_AFTER = 0.005, 0.02, 0.5
BEACON_EVERY = 0.005
TELL_EVERY = 0.25


async def main_first(
    loop: Loop,
    server: Server,
    listen: list[tuple[str, int]],
    targets: list[tuple[str, int]],
    calls: list[tuple[str, int]],
    window: float,
) -> None:
    """Fire at ``targets``, listen, call the beacons ``calls``, and tell every quarter of a second."""
    began = now()
    paces = [
        Pace(loop, host, port, FAST, window, calm_after=CALM_AFTER, calm_interval=CALM)
        for host, port in targets
    ]
    for protocol, port in listen:
        server.listen(protocol, port)
    for host, port in calls:
        loop.spawn(call(loop, host, port, listen[0][1]))
    facts: dict[str, Any] = {"first": server.identity, "age": process_age()}
    while True:
        await loop.suspend(now() + TELL_EVERY)
        facts["paths"] = {f"{pace.target.host} {pace.target.port}": pace.facts() for pace in paces}
        facts["began"], facts["now"] = round(began, 6), round(now(), 6)
        print(json.dumps(facts, separators=(",", ":")), flush=True)


async def call(loop: Loop, host: str, port: int, listening: int) -> None:
    """Send a beacon to one watcher, again and again: the network may not be there yet."""
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    sock.setblocking(False)
    while True:
        addresses = [address for found in own_addresses().values() for address in found]
        try:
            sock.sendto(json.dumps({"ips": addresses, "port": listening}).encode(), (host, port))
        except OSError:
            pass  # no route yet
        await loop.suspend(now() + BEACON_EVERY)


def process_age() -> float:
    """Return for how many milliseconds this process has existed, to the 10 ms that the kernel tells."""
    try:
        with open("/proc/self/stat") as stat:  # noqa: PTH123 - pathlib is slow to import
            ticks = int(stat.read().rpartition(")")[2].split()[19])
        return round((time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")) * 1000, 1)
    except (OSError, ValueError, IndexError):
        return -1.0
