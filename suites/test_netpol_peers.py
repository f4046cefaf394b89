# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: whom a peer selects, and how peers and ports of a rule combine."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

DOCS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
API = "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"


@requirement("NP-EMP-5", feature="networkpolicy/peers", source=API)
def test_a_pod_selector_peer_stays_in_its_namespace(cni_grid: Grid) -> None:
    """A podSelector without namespaceSelector selects pods of the policy's own namespace only."""
    cni_grid.apply(network_policy("own-only", "x", {}, ingress=[rule([peer(pods={})])]))
    cni_grid.check("own namespace only", destinations=["x/a", "x/b", "x/c"])


@requirement("NP-AND-1", feature="networkpolicy/peers", source=DOCS + "#behavior-of-to-and-from-selectors")
def test_selectors_in_one_peer_are_anded(cni_grid: Grid) -> None:
    """The selectors for namespaces and pods are ANDed in one peer, and ORed as two peers."""
    both = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=both))
    cni_grid.check("one peer: y and b", destinations=["x/a"])
    either = [rule([peer(pods={"pod": "b"}), peer(namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=either))
    cni_grid.check("two peers: y or b", destinations=["x/a"])


@requirement("NP-AND-2", feature="networkpolicy/peers", source=API)
def test_rules_are_not_cross_multiplied(cni_grid: Grid) -> None:
    """Peers of one rule do not combine with the ports of another."""
    rules = [
        rule([peer(namespaces={"ns": "y"})], [port(80)]),
        rule([peer(namespaces={"ns": "z"})], [port(81)]),
    ]
    cni_grid.apply(network_policy("two-rules", "x", {"pod": "a"}, ingress=rules))
    cni_grid.check("y on 80 or z on 81", destinations=["x/a"])
