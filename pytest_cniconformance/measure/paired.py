# SPDX-License-Identifier: Apache-2.0
"""How much slower is a path than its baseline? Percentile differences from interleaved pairs of blocks.

Both sides of a pair are measured right after one another, so what disturbs the machine for longer than a
block (a noisy neighbour, a frequency change, drift) disturbs both. The interval comes from a bootstrap that
draws whole *pairs of blocks*: that keeps the pairing, and the dependence of samples within a block. Within
each draw the samples are merged and the two percentiles taken; percentiles of blocks are never averaged.

A bootstrap cannot look beyond the largest sample that it has, so it understates the far tail. Where the
order-statistic interval of either side is unbounded (too few samples for that percentile) the interval of the
difference is therefore unbounded too, and the verdict on it is inconclusive.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from pytest_cniconformance.measure.stats import (
    INF,
    Interval,
    merge,
    percentile,
    percentile_interval,
    rank,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    Block = Sequence[float | None]

MIN_PAIRS = 8
"""Fewer pairs than this say too little about how blocks vary: no interval is given."""


def difference_interval(
    pairs: Sequence[tuple[Block, Block]],
    p: float,
    confidence: float = 0.95,
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> Interval:
    """Return percentile ``p`` of the first sides minus that of the second, with its interval.

    ``pairs`` holds (path block, baseline block); a lost sample is None or ``inf``. The same samples and
    seed give the same interval. Raises ValueError without samples.
    """
    ours = merge(*(first for first, _ in pairs))
    base = merge(*(second for _, second in pairs))
    value = _minus(percentile(ours, p), percentile(base, p))
    wide = Interval(value, -INF, INF, 1.0)
    if len(pairs) < MIN_PAIRS:
        return wide
    sides = (percentile_interval(ours, p, confidence), percentile_interval(base, p, confidence))
    if -INF in (sides[0].low, sides[1].low):
        return wide
    pick = random.Random(seed)
    first = _Weighted([block for block, _ in pairs])
    second = _Weighted([block for _, block in pairs])
    draws = []
    for _ in range(resamples):
        weights = [0] * len(pairs)
        for index in pick.choices(range(len(pairs)), k=len(pairs)):
            weights[index] += 1
        draws.append(_minus(first.percentile(weights, p), second.percentile(weights, p)))
    draws.sort()
    tail = (1 - confidence) / 2
    low = draws[max(0, math.floor(tail * resamples) - 1)]
    high = draws[min(resamples - 1, math.ceil((1 - tail) * resamples))]
    # An unbounded upper end of the path leaves the difference unbounded above, one of the baseline below.
    return Interval(
        value,
        -INF if sides[1].high == INF else min(low, value),
        INF if sides[0].high == INF else max(high, value),
        confidence,
    )


class _Weighted:
    """Samples sorted once; a percentile for any multiplicity of their blocks is one walk."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._sizes = [len(block) for block in blocks]
        values = ((INF if v is None else v, index) for index, block in enumerate(blocks) for v in block)
        # From the top: high percentiles, the ones that SLOs are about, end the walk early.
        self._descending = sorted(values, reverse=True)

    def percentile(self, weights: Sequence[int], p: float) -> float:
        total = sum(size * weight for size, weight in zip(self._sizes, weights, strict=True))
        if not total:
            return INF
        above = total - rank(total, p)
        for value, block in self._descending:
            above -= weights[block]
            if above < 0:
                return value
        return INF


def _minus(first: float, second: float) -> float:
    # Nothing is known of the difference of two losses: neither faster nor slower may be concluded from it.
    return INF if first == INF else -INF if second == INF else first - second
