# SPDX-License-Identifier: Apache-2.0
"""How long silence must last before it may read as a drop: derived from the round trips of this very run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_cniconformance.model.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def shortened(self, factor: float) -> Window:
        """Return the window that is so many times shorter, for looks that no verdict rests on."""
        return replace(self, seconds=self.seconds / factor)

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
