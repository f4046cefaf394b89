# SPDX-License-Identifier: Apache-2.0
"""From attempts to times: first and last change, leak, lockout, flaps, and quantiles that the sample supports."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_cniconformance.measure.convergence import (
    LOST_AT_MOST,
    Run,
    path_times,
    pooled,
    reversed_again,
    row,
    runs_since,
    sample,
    settled,
    spread,
    steady,
)
from pytest_cniconformance.measure.slo import load_profile
from pytest_cniconformance.model.convergence import ANY_EVENT, Change, ConvergenceSample
from pytest_cniconformance.model.slo import SloVerdict


def runs(text: str, start: float = 0.0, step: float = 0.01) -> list[Run]:
    """One attempt per letter, 10 ms apart: ``o`` answered, ``x`` not."""
    found: list[Run] = []
    for index, letter in enumerate(text):
        at = round(start + index * step, 6)
        if found and found[-1].open == (letter == "o"):
            found[-1] = Run(letter == "o", found[-1].first, at, found[-1].count + 1)
        else:
            found.append(Run(letter == "o", at, at, 1))
    return found


def test_a_clean_deny() -> None:
    # The request was sent after the fourth attempt.
    seen = path_times(runs("ooooooxxxxxx"), 0.035, False)
    assert seen.first == pytest.approx(0.025)
    assert seen.last == pytest.approx(0.025)
    assert seen.wrong == pytest.approx(0.015)
    assert seen.flap == 0
    assert seen.gap == pytest.approx(0.01)


def test_a_flap_parts_first_and_last_change() -> None:
    text = "oo" + "xxxx" + "ooo" + "xxxxx"
    seen = path_times(runs(text), 0.015, False)
    assert seen.first == pytest.approx(0.005)
    assert seen.last == pytest.approx(0.075)
    assert seen.wrong == pytest.approx(0.065)
    assert seen.flap == pytest.approx(0.02)
    assert reversed_again(runs(text), 0.015, False)
    assert not reversed_again(runs("ooxxxx"), 0.015, False)


def test_lost_packets_are_no_denial_but_one_answer_is_an_answer() -> None:
    lost = "oooo" + "x" * LOST_AT_MOST + "oooo"
    assert [run.open for run in runs_since(runs(lost), 0)] == [True]
    assert steady(runs(lost), 0, 1, True) == 0
    # Lost right after the request, before the deny took effect.
    early = runs("ooxoooxxxxxx")
    assert not reversed_again(early, 0.015, False)
    assert path_times(early, 0.015, False).first == pytest.approx(0.045)
    assert steady(runs("ooo" + "x" * (LOST_AT_MOST + 1) + "ooo"), 0, 1, True) > 0
    assert steady(runs("xxxxoxxxx"), 0, 1, False) > 0


def test_what_is_not_quiet_is_not_settled() -> None:
    assert not settled(runs("oooxxx"), 0.02, False, 0.05)
    assert settled(runs("oooxxxxxxxxx"), 0.02, False, 0.05)
    assert not settled(runs("oooxxxxxxxxxo"), 0.02, False, 0.05)
    assert not settled([], 0.0, False, 0.05)


def test_an_event_is_as_slow_as_its_slowest_path() -> None:
    paths = [path_times(runs("oxxxxxxxxx"), 0.0, False), path_times(runs("ooooxxxxxx"), 0.0, False)]
    found = sample(paths, clock_error=0.002)
    assert (found.first, found.last, found.wrong) == (10.0, 40.0, 30.0)
    assert found.error == pytest.approx(12.0)


@given(st.integers(1, 60), st.integers(3, 60), st.floats(0, 0.0099))
def test_a_deny_is_dated_to_one_step(before: int, after: int, phase: float) -> None:
    """Whatever the phase between request and pace: the true change lies within the stated error."""
    seen = runs("o" * before + "x" * after)
    changed = before * 0.01 - 0.005  # somewhere between the last answered and the first unanswered attempt
    began = max(0.0, changed - 0.1 + phase)
    found = path_times(seen, began, False)
    assert abs((began + found.last) - changed) <= found.gap + 0.01
    assert found.first == found.last
    assert found.wrong <= found.last


@pytest.mark.parametrize(("count", "supported"), [(1, []), (2, [50]), (6, [50]), (9, [50]), (10, [50, 90])])
def test_quantiles_that_the_sample_does_not_support_are_left_out(count: int, supported: list[int]) -> None:
    found = spread(range(1, count + 1))
    assert [q.percentile for q in found.quantiles] == supported
    assert found.maximum == count
    if count == 6:
        assert (found.quantiles[0].low, found.quantiles[0].high) == (1, 6)
    if count == 10:
        assert found.quantiles[1].high is None  # ten samples cannot bound a 90th percentile


def test_pooling_merges_samples_and_takes_quantiles_anew() -> None:
    pick = random.Random(3)

    def some(event: str, change: Change) -> list[ConvergenceSample]:
        return [ConvergenceSample(first=1.0, last=pick.uniform(1, 50)) for _ in range(6)]

    rows = [
        row(event, traffic, change, some(event, change))
        for event in ("create", "update")
        for traffic in ("ingress", "egress")
        for change in (Change.DENY, Change.ALLOW)
    ]
    found = pooled([*rows, rows[0]])
    assert len([each for each in found if each.event == "create"]) == 4
    (doubled,) = [
        each
        for each in found
        if (each.event, each.traffic, each.change) == ("create", "ingress", Change.DENY)
    ]
    assert doubled.last.count == 12
    (deny,) = [each for each in found if each.event == ANY_EVENT and each.change is Change.DENY]
    assert deny.last.count == 12 + 3 * 6
    assert [q.percentile for q in deny.last.quantiles] == [50, 90]


def test_an_objective_needs_the_samples_to_judge_it() -> None:
    profile = load_profile("default")
    fast = [ConvergenceSample(first=1, last=20.0)] * 6
    assert [r.verdict for r in row("update", "ingress", Change.DENY, fast, profile=profile).slos] == [
        SloVerdict.PASS
    ]
    slow = [ConvergenceSample(first=1, last=9000.0)] * 6
    assert [r.verdict for r in row("update", "ingress", Change.DENY, slow, profile=profile).slos] == [
        SloVerdict.FAIL
    ]
    few = row("update", "ingress", Change.DENY, fast[:3], profile=profile).slos
    assert [r.verdict for r in few] == [SloVerdict.INCONCLUSIVE]


def test_a_verdict_names_the_direction_that_it_is_about() -> None:
    samples = [ConvergenceSample(first=1, last=20.0)] * 6
    (found,) = row("update", "egress", Change.DENY, samples, profile=load_profile("default")).slos
    assert found.objective.startswith("policy-convergence/update/deny, egress: p50")
