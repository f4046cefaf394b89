# SPDX-License-Identifier: Apache-2.0
"""Watched paths as the runner sees them: runs of outcomes, all mapped to the runner's own monotonic clock.

Agents stamp attempts with their own monotonic clock. Every answer of an agent carries its clock's reading, taken
between the moments at which the runner sent the request and got the answer: that encloses the difference of the
clocks, and the intersection of many such enclosures is narrow. Half its width is the error bound; no clock of a
node is trusted to be set right.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pytest_cniconformance.probe.session import AgentSession

INTERVAL_MS = 10
"""Distance of two attempts on one path."""

_REMEMBERED = 20.0  # seconds: clocks that NTP slews by 500 ppm part by 10 ms in that time
OPEN = "open"


class ClockMap:
    """Maps the readings of one remote monotonic clock to the local one (``time.monotonic``, seconds)."""

    def __init__(self) -> None:
        self._enclosures: deque[tuple[float, float, float]] = deque()

    def learn(self, sent: float, remote: float, received: float) -> None:
        """Take an answer into account: ``remote`` was read between the local times ``sent`` and ``received``."""
        self._enclosures.append((received, remote - received, remote - sent))
        while self._enclosures[0][0] < received - _REMEMBERED:
            self._enclosures.popleft()

    def _bounds(self) -> tuple[float, float]:
        low = max(entry[1] for entry in self._enclosures)
        high = min(entry[2] for entry in self._enclosures)
        if low > high:  # the clocks drifted apart meanwhile: the newest narrow enclosure counts
            _, low, high = min(list(self._enclosures)[-10:], key=lambda entry: entry[2] - entry[1])
        return low, high

    @property
    def error(self) -> float:
        """The bound of the error of a mapped time, in seconds."""
        low, high = self._bounds()
        return (high - low) / 2

    def local(self, remote: float) -> float:
        """Return the local time of a remote reading."""
        low, high = self._bounds()
        return remote - (low + high) / 2


@dataclass(frozen=True, slots=True)
class Attempts:
    """Consecutive attempts with one outcome; times of sending are the runner's monotonic seconds."""

    state: str
    first: float
    last: float
    count: int
    cause: str

    @property
    def open(self) -> bool:
        """Whether they were answered."""
        return self.state == OPEN


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watch has seen: runs per ``(address, port)``, beacons heard, the runs of its own control."""

    paths: Mapping[tuple[str, int], tuple[Attempts, ...]]
    heard: Mapping[tuple[str, int], float]
    control: tuple[Attempts, ...]
    sent: Mapping[tuple[str, int], int]
    lag_ms: float
    clock_error: float


class PathWatch:
    """Paths from one agent, watched until stopped; a context manager. Not thread-safe."""

    def __init__(
        self,
        agent: AgentSession,
        paths: Sequence[tuple[str, int]],
        *,
        window_ms: int,
        interval_ms: int = INTERVAL_MS,
        beacon: int = 0,
    ) -> None:
        """Begin. ``beacon`` 4 or 6 opens a port for beacons over that IP version (:attr:`beacon_port`)."""
        self.agent = agent
        self.clock = ClockMap()
        self._paths = list(paths)
        self._number = 0
        answer = self._ask("watch", paths=self._paths, w=window_ms, interval=interval_ms, beacon=beacon)
        self._number = int(answer["watch"])
        self.beacon_port = int(answer["beacon"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def add(self, address: str, port: int) -> None:
        """Watch one more path."""
        self._ask("watch_add", watch=self._number, host=address, port=port)

    def look(self) -> Seen:
        """Return what was seen so far. Raises SessionLost."""
        return self._seen(self._ask("watch_status", watch=self._number))

    def stop(self) -> None:
        """Send no more."""
        self._ask("watch_stop", watch=self._number)

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        sent = time.monotonic()
        answer = self.agent.request(op, **arguments)
        self.clock.learn(sent, answer["now"], time.monotonic())
        return answer

    def _seen(self, answer: Mapping[str, Any]) -> Seen:
        every = [*answer["paths"].values(), answer["control"]]
        return Seen(
            paths={_place(name): self._runs(facts) for name, facts in answer["paths"].items()},
            heard={_place(name): self.clock.local(at) for name, at in answer["heard"].items()},
            control=self._runs(answer["control"]),
            sent={_place(name): int(facts["sent"]) for name, facts in answer["paths"].items()},
            lag_ms=max(facts["lag"] for facts in every),
            clock_error=self.clock.error,
        )

    def _runs(self, facts: Mapping[str, Any]) -> tuple[Attempts, ...]:
        local = self.clock.local
        return tuple(
            Attempts(state, local(first), local(last), count, cause)
            for state, first, last, count, cause in facts["runs"]
        )


def _place(name: str) -> tuple[str, int]:
    host, _, port = name.partition(" ")
    return host, int(port)
