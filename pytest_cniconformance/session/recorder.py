# SPDX-License-Identifier: Apache-2.0
"""Evidence of one check, collected where it runs; records of all checks, gathered on the controller."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report.check import CheckRecord

PROPERTY = "cniconformance"
"""Name of the one property that carries a record from a worker to the controller, as JSON text."""


class Evidence:
    """What a check collects while it runs. Lists hold values of the model or builtins."""

    def __init__(self) -> None:
        self.items: dict[str, list[Any]] = {}

    def add(self, kind: str, *values: Any) -> None:
        """Append values of one kind; the kinds are those of :func:`pytest_cniconformance.report.evidence.check_record`."""
        self.items.setdefault(kind, []).extend(values)

    def merged(self, other: dict[str, Any] | None) -> dict[str, Any]:
        """Return the evidence together with that of a failure."""
        merged: dict[str, Any] = {kind: list(values) for kind, values in self.items.items()}
        for kind, values in (other or {}).items():
            merged.setdefault(kind, []).extend(values if isinstance(values, list | tuple) else [values])
        return merged


EVIDENCE: pytest.StashKey[Evidence] = pytest.StashKey()

_SEVERITY = (
    Outcome.PASSED,
    Outcome.SKIPPED,
    Outcome.NOT_SUPPORTED,
    Outcome.KNOWN_DEVIATION,
    Outcome.INCONCLUSIVE,
    Outcome.NOT_ENFORCED,
    Outcome.FAILED,
    Outcome.ERROR,
)


class Gatherer:
    """Keeps one record per check: the worst of its phases; a pass after a failed attempt is ``flaky``."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Any]] = {}
        self._failed_attempts: dict[str, int] = {}

    def __iter__(self) -> Iterator[CheckRecord]:
        for data in self._records.values():
            yield CheckRecord.from_json(data)

    def __len__(self) -> int:
        return len(self._records)

    def take(self, report: pytest.TestReport) -> dict[str, Any] | None:
        """Take the record that a report carries, if any, and return it as builtins."""
        text = next((value for name, value in report.user_properties if name == PROPERTY), None)
        if not isinstance(text, str):
            return None
        data: dict[str, Any] = json.loads(text)
        if str(report.outcome) == "rerun":
            # pytest-rerunfailures: this attempt failed and another one follows
            self._failed_attempts[report.nodeid] = self._failed_attempts.get(report.nodeid, 0) + 1
            return None
        earlier = self._failed_attempts.get(report.nodeid, 0)
        if earlier:
            data["attempts"] = earlier + 1
            if data["outcome"] == Outcome.PASSED:
                data["outcome"] = str(Outcome.FLAKY)
        known = self._records.get(report.nodeid)
        if known is None or _rank(data["outcome"]) >= _rank(known["outcome"]):
            self._records[report.nodeid] = data
        return data


def _rank(outcome: str) -> int:
    return _SEVERITY.index(Outcome(outcome)) if outcome != Outcome.FLAKY else 0
