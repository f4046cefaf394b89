# SPDX-License-Identifier: Apache-2.0
"""Each exception is one outcome, and only failures and errors fail the run."""

from __future__ import annotations

import pytest

from pytest_cniconformance.cni import load_profile
from pytest_cniconformance.model.failure import (
    ClusterError,
    ConformanceFailure,
    Inconclusive,
    NotEnforced,
    NotSupported,
)
from pytest_cniconformance.model.requirement import Level, Outcome, Requirement
from pytest_cniconformance.session.outcomes import Judged, fails, judge

POLICY = Requirement("NP-TEST", Level.MUST, "networkpolicy/peers", "https://example.org")


@pytest.mark.parametrize(
    ("error", "cni", "outcome"),
    [
        (ConformanceFailure("x"), "calico", Outcome.FAILED),
        (NotEnforced("x"), "calico", Outcome.FAILED),
        (NotEnforced("x"), "flannel", Outcome.NOT_ENFORCED),
        (ConformanceFailure("x"), "flannel", Outcome.FAILED),
        (NotSupported("x"), "calico", Outcome.NOT_SUPPORTED),
        (Inconclusive("x"), "calico", Outcome.INCONCLUSIVE),
        (ClusterError("x"), "calico", Outcome.ERROR),
        (AssertionError("x"), "calico", Outcome.FAILED),
        (KeyError("x"), "calico", Outcome.ERROR),
        (TimeoutError("x"), "calico", Outcome.ERROR),
    ],
)
def test_outcome_of_an_exception(error: Exception, cni: str, outcome: Outcome) -> None:
    assert judge(error, POLICY, load_profile(cni)).outcome is outcome


@pytest.mark.parametrize(
    ("error", "cni", "outcome"),
    [
        (ConformanceFailure("x"), "calico", Outcome.INCONCLUSIVE),
        (NotEnforced("x"), "calico", Outcome.INCONCLUSIVE),
        (NotEnforced("x"), "flannel", Outcome.NOT_ENFORCED),
    ],
)
def test_a_trait_is_never_failed(error: Exception, cni: str, outcome: Outcome) -> None:
    trait = Requirement("NP-TRAIT", Level.TRAIT, "networkpolicy/icmp", "https://example.org")
    assert judge(error, trait, load_profile(cni)).outcome is outcome


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_fails_the_run(outcome: Outcome) -> None:
    assert fails(Judged(outcome), POLICY, frozenset()) == (outcome in (Outcome.FAILED, Outcome.ERROR))


@pytest.mark.parametrize("outcome", [Outcome.NOT_ENFORCED, Outcome.NOT_SUPPORTED])
def test_required_capabilities_must_be_there(outcome: Outcome) -> None:
    assert fails(Judged(outcome), POLICY, frozenset({"networkpolicy"}))
    assert not fails(Judged(outcome), POLICY, frozenset({"l7"}))
