# SPDX-License-Identifier: Apache-2.0
"""The few facts of a check that belong into JUnit's ``<properties>``, for people who read the XML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.report.redact import PATTERNS_ONLY
from pytest_cniconformance.report.text import one_line
from pytest_cniconformance.report.view import microseconds, quantile

if TYPE_CHECKING:
    from pytest_cniconformance.report.check import CheckRecord


def facts(check: CheckRecord, cni: str) -> list[tuple[str, str]]:
    """Return (name, value) pairs for ``item.user_properties``: strings on one line, nothing secret."""
    pairs = [
        ("cni", cni),
        ("cni_check", check.id),
        ("cni_outcome", str(check.outcome)),
        ("cni_level", str(check.level)),
        ("cni_feature", check.feature),
        ("cni_source", check.source),
    ]
    if check.attempts > 1:
        pairs.append(("cni_attempts", str(check.attempts)))
    if check.mismatches:
        pairs.append(("cni_mismatch", check.mismatches[0].summary))
    if check.reproduce:
        pairs.append(("cni_reproduce", check.reproduce[-1]))
    pairs += [(f"cni_trait_{trait.name}", trait.value) for trait in check.traits]
    for measurement in check.measurements:
        p99 = quantile(measurement.quantiles, 99)
        if p99 and measurement.baseline:
            pairs.append((f"cni_p99_{measurement.name}", microseconds(p99.value)))
    return [(one_line(name), one_line(PATTERNS_ONLY.text(value), 500)) for name, value in pairs if value]
