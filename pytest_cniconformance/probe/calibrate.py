# SPDX-License-Identifier: Apache-2.0
"""How long silence must last before it may read as a drop: derived from the round trips of this very run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.model.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.probe.fleet import Fleet

ROUND_TRIPS = 12
"""A window holds this many slow (99th percentile) handshakes; the last of three attempts still has four."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which an answer must come, in seconds, with the round trips (milliseconds) behind it."""

    seconds: float
    rtt_p50_ms: float | None = None
    rtt_p99_ms: float | None = None
    samples: int = 0
    losses: int = 0

    @property
    def milliseconds(self) -> int:
        """The window in whole milliseconds, as agents get it."""
        return math.ceil(self.seconds * 1000)

    @classmethod
    def default(cls, timeouts: Timeouts) -> Window:
        """Return the window for a path of which nothing is known: the longest."""
        return cls(timeouts.drop_window_max)

    @classmethod
    def from_samples(cls, microseconds: Iterable[int | None], timeouts: Timeouts) -> Window:
        """Return the window for these round trips of fresh connections; None is a loss.

        Without a single success nothing is known, and the longest window holds.
        """
        samples = list(microseconds)
        good = sorted(sample for sample in samples if sample is not None)
        if not good:
            return cls(timeouts.drop_window_max, samples=len(samples), losses=len(samples))
        p50, p99 = (_percentile(good, q) / 1000 for q in (0.5, 0.99))
        wanted = ROUND_TRIPS * p99 / 1000
        return cls(
            min(max(wanted, timeouts.drop_window_min), timeouts.drop_window_max),
            rtt_p50_ms=p50,
            rtt_p99_ms=p99,
            samples=len(samples),
            losses=len(samples) - len(good),
        )


def _percentile(ordered: list[int], q: float) -> int:
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def calibrate(
    fleet: Fleet,
    paths: Iterable[tuple[str, str, int]],
    *,
    timeouts: Timeouts | None = None,
    count: int = 20,
) -> Window:
    """Measure ``count`` fresh TCP round trips on each path ``(source, address, port)`` and return the window.

    All sources measure at once, as they will probe. Paths must be allowed at the time (the baseline before any
    policy). A source that fails contributes nothing.
    """
    limits = timeouts or Timeouts()
    samples: list[int | None] = []
    by_source: dict[str, list[tuple[str, int]]] = {}
    for source, address, port in paths:
        by_source.setdefault(source, []).append((address, port))
    wait = math.ceil(limits.drop_window_max * 1000)
    while by_source:
        turn = {}
        for source, targets in list(by_source.items()):
            address, port = targets.pop()
            turn[source] = (
                "rtt",
                {"host": address, "port": port, "n": count, "fresh": True, "wait": wait},
            )
            if not targets:
                del by_source[source]
        for answer in fleet.request_all(turn, timeout=count * limits.drop_window_max + 10).values():
            if not isinstance(answer, Exception):
                samples += answer["samples"]
    return Window.from_samples(samples, limits)
