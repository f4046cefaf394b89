# SPDX-License-Identifier: Apache-2.0
"""From what a check raised to its outcome, and from the outcome to what pytest shows and counts."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_cniconformance.cni import CniProfile
from pytest_cniconformance.model.failure import (
    ClusterError,
    ConformanceFailure,
    Inconclusive,
    NotEnforced,
    NotSupported,
)
from pytest_cniconformance.model.requirement import Level, Outcome, Requirement
from pytest_cniconformance.report.check import Deviation

FAILING = frozenset({Outcome.FAILED, Outcome.ERROR})
_LETTERS = {
    Outcome.NOT_ENFORCED: "n",
    Outcome.NOT_SUPPORTED: "-",
    Outcome.INCONCLUSIVE: "i",
    Outcome.KNOWN_DEVIATION: "d",
    Outcome.ERROR: "E",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome of a check, why, and the deviation that excuses it, if any.

    ``foreseen`` is False for what only a traceback explains: a plain assertion, a fault of the check itself.
    """

    outcome: Outcome
    message: str = ""
    deviation: Deviation | None = None
    evidence: dict[str, Any] | None = None
    foreseen: bool = True


def judge(error: BaseException, requirement: Requirement, profile: CniProfile, version: str = "") -> Judged:
    """Return the outcome that ``error`` means for ``requirement`` under the CNI's profile."""
    message = str(error) or type(error).__name__
    if isinstance(error, ConformanceFailure):
        deviation = profile.deviation(requirement.id, datetime.date.today(), version)
        if deviation is not None:
            known = Deviation(
                reference=deviation.reference, expires=str(deviation.expires or ""), reason=deviation.reason
            )
            return Judged(Outcome.KNOWN_DEVIATION, message, known, error.evidence)
        unclaimed = not profile.claims(requirement.capability)
        outcome = Outcome.NOT_ENFORCED if isinstance(error, NotEnforced) and unclaimed else Outcome.FAILED
        if outcome is Outcome.FAILED and requirement.level is Level.TRAIT:
            # What a trait needs before it can be measured is the business of other checks.
            outcome, message = Outcome.INCONCLUSIVE, f"could not be measured: {message}"
        return Judged(outcome, message, None, error.evidence)
    if isinstance(error, NotSupported):
        return Judged(Outcome.NOT_SUPPORTED, message)
    if isinstance(error, Inconclusive):
        return Judged(Outcome.INCONCLUSIVE, message)
    if isinstance(error, ClusterError):
        return Judged(Outcome.ERROR, message)
    if isinstance(error, pytest.skip.Exception):
        return Judged(Outcome.SKIPPED, message)
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return Judged(Outcome.FAILED, message, foreseen=False)
    return Judged(Outcome.ERROR, f"{type(error).__name__}: {message}", foreseen=False)


def fails(judged: Judged, requirement: Requirement, required: frozenset[str]) -> bool:
    """Whether this outcome must fail the run (design: ``failed`` and ``error``, or required and absent)."""
    if judged.outcome in FAILING:
        return True
    absent = judged.outcome in (Outcome.NOT_ENFORCED, Outcome.NOT_SUPPORTED)
    return absent and requirement.capability in required


def status(outcome: Outcome, failing: bool) -> tuple[str, str, str] | None:
    """Return pytest's category, letter and word for an outcome, None to leave it to pytest."""
    if outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, Outcome.FLAKY):
        return None
    if failing and outcome is not Outcome.ERROR:
        return None
    category = "error" if outcome is Outcome.ERROR else str(outcome)
    return category, _LETTERS[outcome], str(outcome).upper().replace("-", " ")
