# SPDX-License-Identifier: Apache-2.0
"""Percentiles with honest intervals.

A percentile is the nearest rank: the smallest sample that at least p percent of all samples do not exceed.
A lost sample (no answer) is ``inf``: it counts, at the far end. Percentiles are never averaged; samples (or
histograms) are merged and the percentile is taken again.

The interval of a percentile needs no assumption on the distribution: the number of samples below the true
p-quantile is binomial(n, p), so two order statistics enclose it with a probability that can be computed
(H. A. David, Order Statistics, 7.1). It does assume independent samples, which a queue does not grant;
studies therefore interleave short blocks, and differences resample whole blocks (see :mod:`.paired`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INF = math.inf
Buckets = list[tuple[float, int]]
"""A histogram: (upper bound, samples), ascending."""

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
HISTOGRAM_PRECISION = 0.01
"""Relative width of a histogram's buckets: a percentile read from it is at most 1 % too high."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the interval that encloses the truth; ``coverage`` is the probability that it does.

    ``low`` is ``-inf`` and ``high`` ``inf`` where too few samples bound that side.
    """

    value: float
    low: float
    high: float
    coverage: float

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def merge(*samples: Iterable[float | None]) -> list[float]:
    """Return all samples in ascending order, the lost ones (None) as ``inf``."""
    return sorted(INF if value is None else value for part in samples for value in part)


def percentile(ordered: Sequence[float], p: float) -> float:
    """Return the nearest-rank percentile (0 < p <= 100) of samples in ascending order."""
    if not ordered:
        raise ValueError("no samples: there is no percentile")
    return ordered[rank(len(ordered), p) - 1]


def rank(count: int, p: float) -> int:
    """Return the rank (1..count) of the percentile ``p``."""
    if not 0 < p <= 100:
        raise ValueError(f"a percentile lies above 0 and at most at 100, not at {p:g}")
    # 99.9 % of 1000 is 999.0000000000001 in binary; the rank is 999.
    return min(count, max(1, math.ceil(round(count * p / 100, 9))))


def percentile_interval(ordered: Sequence[float], p: float, confidence: float = 0.95) -> Interval:
    """Return the percentile ``p`` with its distribution-free interval.

    Both tails hold at most ``(1 - confidence) / 2``, so one end alone decides an SLO at that risk.
    """
    value = percentile(ordered, p)
    if p == 100:
        # No sample bounds the maximum of what was not seen.
        return Interval(value, ordered[-1], INF, 1.0)
    count = len(ordered)
    lower, upper, coverage = interval_ranks(count, p, confidence)
    low = ordered[lower - 1] if lower >= 1 else -INF
    high = ordered[upper - 1] if upper <= count else INF
    return Interval(value, low, high, coverage)


def interval_ranks(count: int, p: float, confidence: float = 0.95) -> tuple[int, int, float]:
    """Return ranks (lower, upper) whose order statistics enclose the p-quantile, and the exact coverage.

    A lower rank of 0 or an upper rank of ``count + 1`` means that this side cannot be bounded.
    """
    tail = (1 - confidence) / 2
    below = _BinomialCdf(count, p / 100)
    # lower: the largest l with P(B <= l - 1) <= tail; upper: the smallest u with P(B <= u - 1) >= 1 - tail.
    lower = 0
    while lower < count and below(lower) <= tail:
        lower += 1
    upper = lower + 1
    while upper <= count and below(upper - 1) < 1 - tail:
        upper += 1
    upper = min(upper, count + 1)
    at_most = 1.0 if upper > count else below(upper - 1)
    return lower, upper, at_most - (below(lower - 1) if lower else 0.0)


def samples_needed(p: float, confidence: float = 0.95) -> int:
    """Return how many samples bound the interval of the percentile ``p`` on both sides."""
    tail = math.log((1 - confidence) / 2)
    share = p / 100
    return max(math.ceil(tail / math.log(share)), math.ceil(tail / math.log1p(-share)))


class _BinomialCdf:
    """P(B <= k) for B ~ binomial(n, p), as a running sum so that ascending k cost one step each."""

    def __init__(self, count: int, share: float) -> None:
        self._sums = []
        total = 0.0
        for k in range(count + 1):
            log = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
            total += math.exp(log + k * math.log(share) + (count - k) * math.log1p(-share))
            self._sums.append(min(total, 1.0))

    def __call__(self, k: int) -> float:
        return self._sums[k]


def histogram(ordered: Iterable[float], precision: float = HISTOGRAM_PRECISION) -> Buckets:
    """Return (upper bound, samples) in ascending order, the infinite ones left out.

    Bounds depend on the precision alone, so histograms of different runs have equal buckets.
    """
    counts: dict[int, int] = {}
    growth = math.log1p(precision)
    for value in ordered:
        if math.isfinite(value):
            bucket = -(10**6) if value <= 0 else math.ceil(round(math.log(value) / growth, 9))
            counts[bucket] = counts.get(bucket, 0) + 1
    return [(_bound(bucket, growth), counts[bucket]) for bucket in sorted(counts)]


def merge_histograms(*histograms: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return the sum of histograms of the same precision."""
    counts: dict[float, int] = {}
    for part in histograms:
        for bound, count in part:
            counts[bound] = counts.get(bound, 0) + count
    return sorted(counts.items())


def histogram_percentile(buckets: Sequence[tuple[float, int]], p: float, lost: int = 0) -> float:
    """Return the upper bound of the bucket that holds the percentile ``p``; ``inf`` among the lost ones."""
    total = sum(count for _, count in buckets) + lost
    if not total:
        raise ValueError("no samples: there is no percentile")
    sums: list[int] = []
    for _, count in buckets:
        sums.append(count + (sums[-1] if sums else 0))
    index = bisect_left(sums, rank(total, p))
    return buckets[index][0] if index < len(buckets) else INF


def _bound(bucket: int, growth: float) -> float:
    return 0.0 if bucket == -(10**6) else float(f"{math.exp(bucket * growth):.6g}")


def median(values: Mapping[object, float] | Iterable[float]) -> float:
    """Return the nearest-rank median of values in any order."""
    return percentile(sorted(values.values() if hasattr(values, "values") else values), 50)
