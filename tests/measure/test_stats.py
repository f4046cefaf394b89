# SPDX-License-Identifier: Apache-2.0
"""Percentiles and intervals: definitions, invariants, and the coverage that they promise, by simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_cniconformance.measure.stats import (
    INF,
    histogram,
    histogram_percentile,
    interval_ranks,
    merge,
    merge_histograms,
    percentile,
    percentile_interval,
    rank,
    samples_needed,
)

latencies = st.floats(min_value=0.1, max_value=1e7, allow_nan=False)
samples = st.lists(latencies, min_size=1, max_size=300).map(sorted)
percents = st.sampled_from((0.1, 1, 10, 50, 75, 90, 95, 99, 99.9, 100))


@given(samples, percents)
def test_a_percentile_is_a_sample_and_bounds_its_share(ordered: list[float], p: float) -> None:
    value = percentile(ordered, p)
    assert value in ordered
    at_most = sum(sample <= value for sample in ordered)
    below = sum(sample < value for sample in ordered)
    assert at_most >= p / 100 * len(ordered) - 1e-6
    assert below < p / 100 * len(ordered) + 1e-6 or len(ordered) == 1


@given(samples, st.sampled_from((0.1, 50, 90, 99, 99.9)), st.sampled_from((0.8, 0.95, 0.99)))
def test_an_interval_encloses_its_value_and_keeps_its_promise(
    ordered: list[float], p: float, confidence: float
) -> None:
    interval = percentile_interval(ordered, p, confidence)
    assert interval.low <= interval.value <= interval.high
    assert interval.coverage >= confidence - 1e-9 or not interval.bounded


def test_ranks_are_exact_where_binary_fractions_are_not() -> None:
    assert rank(1000, 99.9) == 999
    assert rank(10, 100) == 10
    assert rank(1, 0.1) == 1
    with pytest.raises(ValueError, match="above 0"):
        rank(10, 0)
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_interval_ranks_match_the_published_ones() -> None:
    # p99 of 2000 samples; and the table of the sign test: median of 10 samples, ranks 2 and 9 at 97.9 %.
    assert interval_ranks(2000, 99)[:2] == (1971, 1989)
    lower, upper, coverage = interval_ranks(10, 50)
    assert (lower, upper) == (2, 9)
    assert coverage == pytest.approx(0.9785, abs=1e-4)


@pytest.mark.parametrize("p", [50, 90, 95, 99, 99.9])
def test_samples_needed_is_the_first_count_with_a_bounded_interval(p: float) -> None:
    needed = samples_needed(p)
    lower, upper, _ = interval_ranks(needed, p)
    assert lower >= 1
    assert upper <= needed
    lower, upper, _ = interval_ranks(needed - 1, p)
    assert lower < 1 or upper > needed - 1


@pytest.mark.parametrize(
    ("p", "count"), [(50, 30), (90, 100), (99, 500), (99, 50)], ids=["p50", "p90", "p99", "p99-too-few"]
)
@pytest.mark.parametrize("shape", ["exponential", "heavy-tail", "two-humps"])
def test_the_interval_covers_the_truth_as_often_as_it_says(p: float, count: int, shape: str) -> None:
    pick = random.Random(20261123)
    draw, quantile = {
        "exponential": (lambda: pick.expovariate(1), lambda q: -math.log(1 - q)),
        "heavy-tail": (lambda: pick.paretovariate(1.5), lambda q: (1 - q) ** (-1 / 1.5)),
        "two-humps": (
            lambda: pick.random() if pick.random() < 0.7 else 10 + pick.random(),
            lambda q: q / 0.7 if q <= 0.7 else 10 + (q - 0.7) / 0.3,
        ),
    }[shape]
    truth = quantile(p / 100)
    trials, covered = 600, 0
    for _ in range(trials):
        interval = percentile_interval(sorted(draw() for _ in range(count)), p)
        covered += interval.low <= truth <= interval.high
    # Four standard errors below 95 %: seeded, so this is no lottery, and still a real bound.
    assert covered / trials >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


@given(st.lists(st.lists(st.one_of(latencies, st.none()), max_size=50), max_size=6))
def test_merging_keeps_every_sample_and_puts_losses_last(parts: list[list[float | None]]) -> None:
    merged = merge(*parts)
    lost = sum(value is None for part in parts for value in part)
    assert merged == sorted(merged)
    assert len(merged) == sum(map(len, parts))
    assert merged.count(INF) == lost


def test_losses_are_at_infinity_not_left_out() -> None:
    ordered = merge([1.0] * 98, [None, None])
    assert percentile(ordered, 98) == 1.0
    assert percentile(ordered, 99) == INF


def test_the_percentile_of_merged_runs_is_not_the_average_of_their_percentiles() -> None:
    fast, slow = [1.0] * 100, [1.0] * 80 + [100.0] * 20
    assert percentile(merge(fast, slow), 90) == 1.0
    assert (percentile(fast, 90) + percentile(slow, 90)) / 2 == pytest.approx(50.5)


@given(samples, samples, st.sampled_from((50, 90, 99)), st.integers(0, 5))
def test_histograms_add_up_and_give_percentiles_within_their_precision(
    first: list[float], second: list[float], p: float, lost: int
) -> None:
    both = merge_histograms(histogram(first), histogram(second))
    ordered = merge(first, second, [None] * lost)
    assert both == histogram(ordered)
    exact, read = percentile(ordered, p), histogram_percentile(both, p, lost)
    assert read == exact == INF or exact * 0.99999 <= read <= exact * 1.0101


def test_a_histogram_of_zeros_and_of_nothing() -> None:
    assert histogram([0.0, 0.0]) == [(0.0, 2)]
    assert histogram([INF]) == []
    with pytest.raises(ValueError, match="no samples"):
        histogram_percentile([], 50)
