# SPDX-License-Identifier: Apache-2.0
"""What was measured on one path: counts, quantiles with intervals, a histogram, and the SLOs judged on it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_cniconformance.model.slo import SloVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """One percentile (0..100) with its confidence interval, in the unit of its measurement.

    ``None`` stands for infinity: the value was lost (no answer), or too few samples bound that side.
    """

    percentile: float
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SloResult:
    """One objective, what was found, and the verdict. All values are milliseconds; ``None`` is infinity."""

    objective: str
    percentile: float
    limit_ms: float
    over_baseline: bool
    verdict: SloVerdict
    value_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The distribution of one path.

    ``count`` includes the ``lost`` samples, which lie at infinity. ``histogram`` holds (upper bound, samples)
    in ascending order, the lost ones left out: histograms of one unit can be added, percentiles cannot.
    ``baseline`` names the measurement that was interleaved with this one, and ``over_baseline`` are the
    differences of the percentiles to it.
    """

    name: str
    unit: str = "us"
    count: int = 0
    lost: int = 0
    minimum: float | None = None
    maximum: float | None = None
    confidence: float = 0.95
    quantiles: tuple[Quantile, ...] = ()
    histogram: tuple[tuple[float, int], ...] = ()
    baseline: str = ""
    over_baseline: tuple[Quantile, ...] = ()
    slos: tuple[SloResult, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> SloVerdict | None:
        """The worst verdict of the objectives: fail before inconclusive before pass; None without any."""
        found = {slo.verdict for slo in self.slos}
        for verdict in (SloVerdict.FAIL, SloVerdict.INCONCLUSIVE, SloVerdict.PASS):
            if verdict in found:
                return verdict
        return None
