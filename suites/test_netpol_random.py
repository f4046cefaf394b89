# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy v1 at large: random topologies and policies against the reference semantics (``--cni-random``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.fixtures import requirement

if TYPE_CHECKING:
    from pytest_cniconformance.fixtures.randomized.check import RandomCheck

pytestmark = pytest.mark.netpol


@requirement(
    "NP-RANDOM",
    feature="networkpolicy/random",
    source="https://kubernetes.io/docs/reference/kubernetes-api/networking/network-policy-v1/",
)
def test_random_policies_mean_what_the_api_says(cni_random: RandomCheck) -> None:
    """Whatever NetworkPolicies hold, pairs of pods connect exactly where the API says so."""
    cni_random()
