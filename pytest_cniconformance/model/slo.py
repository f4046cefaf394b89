# SPDX-License-Identifier: Apache-2.0
"""A service level objective on a latency or on convergence, and the three-valued verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SloVerdict(StrEnum):
    """Whether the confidence interval of a percentile lies below, above or across the limit."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Slo:
    """``percentile`` (0..100) of ``path`` must be at most ``limit_ms`` milliseconds.

    With ``over_baseline`` the limit is on the difference to the host-network baseline that was measured
    interleaved with the samples, so that a slow machine does not read as a slow CNI.
    """

    path: str
    percentile: float
    limit_ms: float
    over_baseline: bool = False

    def __str__(self) -> str:
        if self.over_baseline:
            what = "over the host-network baseline"
        else:
            what = "until in effect" if self.path.startswith("policy-convergence/") else "round trip"
        return f"{self.path}: p{self.percentile:g} ≤ {self.limit_ms:g} ms {what}"
