# SPDX-License-Identifier: Apache-2.0
"""What vouches for a prober: a listener of its own, a closed port of its own, and the lag of its loop."""

from __future__ import annotations

import socket

from .addresses import own_addresses
from .attempt import attempt
from .judgement import Try
from .loop import Loop, now
from .server import Server
from .target import Target


class Controls:
    """Probes of the prober's own addresses, whose outcome is known beforehand."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop = loop
        self.addresses = own_addresses()
        self.server = Server(loop, f"control of {identity}")
        self.listeners = {"TCP": self.server.listen("TCP", 0), "UDP": self.server.listen("UDP", 0)}
        self.closed: dict[int, tuple[socket.socket, int]] = {}
        for family, loopback, wildcard in (
            (socket.AF_INET, "127.0.0.1", "0.0.0.0"),
            (socket.AF_INET6, "::1", "::"),
        ):
            if not self.addresses[family] and not closed_port(family, loopback):
                continue
            self.addresses[family] = self.addresses[family] or [loopback]
            found = closed_port(family, wildcard)
            if found:
                self.closed[family] = found

    def families(self, wanted: set[int]) -> set[int]:
        """Return which of these families can be vouched for; all that can if it is none of these."""
        able = {family for family, found in self.addresses.items() if found}
        return wanted & able or able

    async def positive(self, families: set[int], udp: bool, when: str, window: float) -> str:
        """Probe the own listener through the own address; return what went wrong, or an empty string."""
        checks = []
        for family in families:
            address = self.addresses[family][0]
            for protocol in ("TCP", "UDP") if udp else ("TCP",):
                outcome = Try()
                target = Target(address, self.listeners[protocol], protocol, {"x": self.server.identity})
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


class LagWatch:
    """Measures by how much the loop comes too late: ``worst`` seconds, until stopped."""

    def __init__(self, loop: Loop, step: float) -> None:
        self.worst = 0.0
        self._loop = loop
        self._task = loop.spawn(self._run(step))

    def stop(self) -> None:
        """Measure no more."""
        self._loop.cancel(self._task)

    async def _run(self, step: float) -> None:
        while True:
            due = now() + step
            await self._loop.suspend(due)
            self.worst = max(self.worst, now() - due)


def closed_port(family: int, address: str) -> tuple[socket.socket, int] | None:
    """Return a socket that is bound and does not listen, and its port; None where the address cannot be had."""
    # Nobody else can take the port while the socket lives, and the kernel refuses connections to it.
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.bind((address, 0))
        return sock, int(sock.getsockname()[1])
    except OSError:
        return None
