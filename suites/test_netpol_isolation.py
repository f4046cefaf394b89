# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: which pods are isolated, in which direction, and how policies add up."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

DOCS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
API = "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"


@requirement("NP-ISO-1", feature="networkpolicy/isolation", source=DOCS)
def test_without_policy_everything_is_open(cni_grid: Grid) -> None:
    """A pod that no policy selects is not isolated, in either direction."""
    cni_grid.check("no policy")


@requirement("NP-ISO-2", feature="networkpolicy/isolation", source=API)
def test_policies_add_up(cni_grid: Grid) -> None:
    """Two policies on one pod allow what either allows."""
    cni_grid.apply(
        network_policy(
            "from-y", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})], [port(80)])]
        ),
        network_policy(
            "from-z", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "z"})], [port(81)])]
        ),
    )
    cni_grid.check("y on 80 and z on 81", destinations=["x/a", "x/b"])


@requirement("NP-ISO-3", feature="networkpolicy/isolation", source=DOCS + "#the-two-sorts-of-pod-isolation")
def test_both_ends_must_allow(cni_grid: Grid) -> None:
    """A connection needs the egress of its source and the ingress of its destination."""
    only = peer(pods={"pod": "b"}, namespaces={"ns": "y"})
    cni_grid.apply(
        network_policy("to-b", "x", {"pod": "a"}, egress=[rule([only])], types=[EGRESS]),
        network_policy("from-z", "y", {"pod": "b"}, ingress=[rule([peer(namespaces={"ns": "z"})])]),
    )
    cni_grid.check("the destination refuses", sources=["x/a", "x/b", "z/a"], destinations=["y/a", "y/b"])
    either = [rule([peer(namespaces={"ns": "z"}), peer(namespaces={"ns": "x"})])]
    cni_grid.apply(network_policy("from-z", "y", {"pod": "b"}, ingress=either))
    cni_grid.check("both allow", sources=["x/a", "x/b", "z/a"], destinations=["y/a", "y/b"])


@requirement("NP-EMP-4", feature="networkpolicy/isolation", source=DOCS + "#default-deny-all-ingress-traffic")
def test_an_empty_pod_selector_isolates_the_namespace(cni_grid: Grid) -> None:
    """Default deny of ingress isolates every pod of its namespace and no other."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny of ingress in x")


@requirement("NP-DEF-3", feature="networkpolicy/egress", source=DOCS + "#default-deny-all-egress-traffic")
def test_egress_without_rules_denies_all_egress(cni_grid: Grid) -> None:
    """Policy type Egress without rules denies all egress and leaves ingress alone."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[EGRESS]))
    cni_grid.check("default deny of egress in x")


@requirement("NP-REP-1", feature="networkpolicy/replies", source=DOCS + "#the-two-sorts-of-pod-isolation")
def test_replies_to_allowed_connections_pass(cni_grid: Grid) -> None:
    """Replies pass although the server may send nothing and the client may receive nothing of its own."""
    cni_grid.apply(
        network_policy(
            "server",
            "y",
            {"pod": "b"},
            ingress=[rule([peer(namespaces={"ns": "x"})])],
            egress=[],
            types=[INGRESS, EGRESS],
        ),
        network_policy(
            "client",
            "x",
            {"pod": "a"},
            ingress=[],
            egress=[rule([peer(namespaces={"ns": "y"})])],
            types=[INGRESS, EGRESS],
        ),
    )
    cni_grid.check("client to server only", sources=["x/a", "y/b"], destinations=["x/a", "y/b"])
