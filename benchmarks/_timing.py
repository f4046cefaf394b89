# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: repeat, take minimum, median and maximum, compare with the target."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def measure(call: Callable[[], object], *, repeat: int) -> list[float]:
    """Return the seconds of each of ``repeat`` calls."""
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def show(what: str, seconds: list[float], target: float | None = None) -> None:
    """Print one line: minimum, median and maximum in milliseconds, and the target on 2 cores."""
    low, middle, high = (
        f"{value * 1000:8.1f}" for value in (min(seconds), statistics.median(seconds), max(seconds))
    )
    goal = (
        f"   target {target * 1000:.0f} ms: {'met' if statistics.median(seconds) < target else 'MISSED'}"
        if target
        else ""
    )
    print(f"{what:<44} min {low}  median {middle}  max {high} ms  n={len(seconds)}{goal}", flush=True)
