# SPDX-License-Identifier: Apache-2.0
"""Differences to the interleaved baseline: right on average, honest about what they cannot know."""

from __future__ import annotations

import math
import random

import pytest

from pytest_cniconformance.measure.paired import MIN_PAIRS, difference_interval

INF = math.inf


def _pairs(
    pick: random.Random, *, added: float, count: int = 20, block: int = 25, drift: float = 0.0
) -> list[tuple[list[float | None], list[float | None]]]:
    """Blocks whose level wanders from pair to pair, as on a shared machine."""
    result: list[tuple[list[float | None], list[float | None]]] = []
    for index in range(count):
        level = 100 + drift * index + pick.uniform(-20, 20)
        result.append(
            (
                [level + added + pick.expovariate(1 / 10) for _ in range(block)],
                [level + pick.expovariate(1 / 10) for _ in range(block)],
            )
        )
    return result


@pytest.mark.parametrize("drift", [0.0, 5.0], ids=["steady", "drifting"])
@pytest.mark.parametrize("p", [50, 90])
def test_the_interval_covers_the_added_latency(p: float, drift: float) -> None:
    pick = random.Random(7)
    trials, covered = 120, 0
    for _ in range(trials):
        interval = difference_interval(_pairs(pick, added=30, drift=drift), p, resamples=300)
        covered += interval.low <= 30 <= interval.high
    # A bootstrap promises its level only in the limit; 90 % of a nominal 95 % is what 20 pairs must reach.
    assert covered / trials >= 0.90


def test_pairing_removes_the_level_that_both_sides_share() -> None:
    interval = difference_interval(_pairs(random.Random(1), added=30, drift=50), 50)
    assert interval.value == pytest.approx(30, abs=40)
    assert difference_interval(_pairs(random.Random(1), added=0), 50).low < 0


def test_same_samples_same_interval() -> None:
    pairs = _pairs(random.Random(5), added=10)
    assert difference_interval(pairs, 90) == difference_interval(pairs, 90)


def test_too_few_pairs_bound_nothing() -> None:
    interval = difference_interval(_pairs(random.Random(2), added=5, count=MIN_PAIRS - 1), 50)
    assert (interval.low, interval.high) == (-INF, INF)


def test_a_tail_that_the_samples_cannot_show_is_not_bounded() -> None:
    interval = difference_interval(_pairs(random.Random(3), added=5), 99.9)
    assert (interval.low, interval.high) == (-INF, INF)


def test_losses_of_the_path_read_as_slower_without_limit() -> None:
    pairs = [(first[:-3] + [None] * 3, second) for first, second in _pairs(random.Random(4), added=5)]
    interval = difference_interval(pairs, 95)
    assert interval.value == INF
    assert interval.low == INF


def test_losses_on_both_sides_prove_nothing_of_the_path() -> None:
    lost: list[float | None] = [None] * 10
    interval = difference_interval([(lost, lost)] * 20, 50)
    assert interval.high == INF
    assert interval.low <= 0
