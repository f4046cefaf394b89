# SPDX-License-Identifier: Apache-2.0
"""Measure the round trips of this very run, from which the drop window follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.probe.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.probe.fleet import Fleet

SCOUTS = 2
"""Round trips that go ahead of those that count: neighbours are resolved and caches filled on their time.

They also tell a silent path, before all others would each wait in vain.
"""


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
        scouted = _round_trips(fleet, turn, SCOUTS, limits)
        alive = {
            source: turn[source] for source, found in scouted.items() if any(s is not None for s in found)
        }
        counted = _round_trips(fleet, alive, count, limits)
        for found in ({**scouted, **counted}).values():
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
