# SPDX-License-Identifier: Apache-2.0
"""A mismatch is found, named, and never hidden by a failed probe."""

from __future__ import annotations

import pytest

from pytest_cniconformance.model.matrix import Cell, Decision, Expectation, compare, render
from pytest_cniconformance.model.verdict import Observation, Verdict

CELL = Cell("x/a", "y/b", 80)
ALLOW, DENY = (
    Expectation(Decision.ALLOW),
    Expectation(Decision.DENY, ("isolated by y/deny-all, no rule matches",)),
)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_evidence_satisfies(verdict: Verdict) -> None:
    seen = Observation(verdict)
    assert ALLOW.accepts(seen) == (verdict is Verdict.OPEN)
    assert DENY.accepts(seen) == (
        verdict in (Verdict.DROPPED, Verdict.REFUSED, Verdict.UNREACHABLE, Verdict.HTTP_DENIED)
    )


@pytest.mark.parametrize("expectation", [ALLOW, DENY, Expectation(Decision.UNSPECIFIED)])
def test_a_probe_error_satisfies_nothing(expectation: Expectation) -> None:
    for verdict in (Verdict.PROBE_ERROR, Verdict.DNS_FAILED):
        [mismatch] = compare({CELL: expectation}, {CELL: Observation(verdict)})
        assert mismatch.unknown and not mismatch.leak


def test_a_cell_that_was_not_probed_is_a_mismatch() -> None:
    [mismatch] = compare({CELL: DENY}, {})
    assert mismatch.unknown


def test_the_sentence_names_the_deciding_rule() -> None:
    [mismatch] = compare({CELL: DENY}, {CELL: Observation(Verdict.OPEN, attempts=1)})
    assert mismatch.leak
    assert str(mismatch) == (
        "x/a → y/b:80/TCP expected denied (isolated by y/deny-all, no rule matches), observed open after 1 attempt"
    )


def test_the_picture_marks_what_is_wrong() -> None:
    text = render(
        {CELL: Observation(Verdict.OPEN), Cell("x/a", "y/c", 80): Observation(Verdict.DROPPED)}, [CELL]
    )
    assert "80/TCP" in text and ".!" in text and "X" in text
