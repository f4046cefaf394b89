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

SCOUTS = 2
"""Round trips by which a silent path is recognised, before the others would each wait in vain."""

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
    policy). A source that fails contributes nothing; a path that is silent at first is not waited for again.
    """
    limits = timeouts or Timeouts()
    samples: list[int | None] = []
    waiting = list(paths)
    while waiting:
        turn: dict[str, tuple[str, int]] = {}
        for source, address, port in waiting:
            turn.setdefault(source, (address, port))
        waiting = [path for path in waiting if turn[path[0]] != path[1:]]
        scouted = _round_trips(fleet, turn, min(SCOUTS, count), limits)
        alive = {
            source: turn[source] for source, found in scouted.items() if any(s is not None for s in found)
        }
        rest = _round_trips(fleet, alive, count - SCOUTS, limits) if count > SCOUTS else {}
        for found in (*scouted.values(), *rest.values()):
            samples += found
    return Window.from_samples(samples, limits)


def _round_trips(
    fleet: Fleet, targets: dict[str, tuple[str, int]], count: int, limits: Timeouts
) -> dict[str, list[int | None]]:
    wait = math.ceil(limits.drop_window_max * 1000)
    requests = {
        source: ("rtt", {"host": address, "port": port, "n": count, "fresh": True, "wait": wait})
        for source, (address, port) in targets.items()
    }
    answers = fleet.request_all(requests, timeout=count * limits.drop_window_max + 10)
    return {
        source: answer["samples"] for source, answer in answers.items() if not isinstance(answer, Exception)
    }
