# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: which pods are isolated, in which direction, and how policies add up."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy, peer, port, rule

pytestmark = pytest.mark.netpol


@pytest.mark.smoke
@requirement("NP-ISO-1", feature="networkpolicy/isolation", source=NETPOL_DOCS)
def test_without_policy_everything_is_open(cni_grid: Grid) -> None:
    """A pod that no policy selects is not isolated, in either direction."""
    cni_grid.check("no policy")


@pytest.mark.smoke
@requirement("NP-ISO-2", feature="networkpolicy/isolation", source=NETPOL_API)
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


@requirement(
    "NP-ISO-3", feature="networkpolicy/isolation", source=NETPOL_DOCS + "#the-two-sorts-of-pod-isolation"
)
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


@pytest.mark.smoke
@requirement(
    "NP-EMP-4", feature="networkpolicy/isolation", source=NETPOL_DOCS + "#default-deny-all-ingress-traffic"
)
def test_an_empty_pod_selector_isolates_the_namespace(cni_grid: Grid) -> None:
    """Default deny of ingress isolates every pod of its namespace and no other."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny of ingress in x")


@pytest.mark.smoke
@requirement(
    "NP-DEF-3", feature="networkpolicy/egress", source=NETPOL_DOCS + "#default-deny-all-egress-traffic"
)
def test_egress_without_rules_denies_all_egress(cni_grid: Grid) -> None:
    """Policy type Egress without rules denies all egress and leaves ingress alone."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[EGRESS]))
    cni_grid.check("default deny of egress in x")


@pytest.mark.smoke
@requirement(
    "NP-REP-1", feature="networkpolicy/replies", source=NETPOL_DOCS + "#the-two-sorts-of-pod-isolation"
)
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


@requirement(
    "NP-ISO-5", feature="networkpolicy/isolation", source=NETPOL_DOCS + "#the-two-sorts-of-pod-isolation"
)
def test_rules_of_one_direction_allow_nothing_in_the_other(cni_grid: Grid) -> None:
    """Whom a policy's ingress rules let in, its own pods may still not send to, and the other way round."""
    ends = ["x/a", "x/b", "x/c", "y/b"]
    only_b = [rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("inward", "x", {}, ingress=only_b, types=[INGRESS, EGRESS]))
    cni_grid.check("in from x/b, and nothing out", sources=ends, destinations=ends, ports=(80,))
    cni_grid.apply(network_policy("inward", "x", {}, egress=only_b, types=[INGRESS, EGRESS]))
    cni_grid.check("out to x/b, and nothing in", sources=ends, destinations=ends, ports=(80,))


@requirement(
    "NP-ISO-4", feature="networkpolicy/isolation", source=NETPOL_DOCS + "#the-two-sorts-of-pod-isolation"
)
def test_isolation_is_per_direction(cni_grid: Grid) -> None:
    """A policy of one type leaves the other direction of its pods alone."""
    ends = ["x/a", "x/c", "y/b", "z/c"]
    for kind in (EGRESS, INGRESS):
        cni_grid.apply(network_policy("one-way", "x", {}, types=[kind]))
        cni_grid.check(f"only {kind} is isolated", sources=ends, destinations=ends, ports=(80,))


@requirement("NP-DEF-1", feature="networkpolicy/isolation", source=NETPOL_API)
def test_policy_types_default_to_ingress_and_to_egress_if_there_are_egress_rules(cni_grid: Grid) -> None:
    """Without policyTypes a policy isolates for ingress, and for egress if it has an egress rule."""
    ends = ["x/a", "x/c", "y/a", "z/c"]
    to_z = [rule([peer(namespaces={"ns": "z"})])]
    cni_grid.apply(network_policy("untyped", "x", {}, egress=to_z))
    cni_grid.check("egress rules only", sources=ends, destinations=ends, ports=(80,))
    cni_grid.apply(network_policy("untyped", "x", {}, ingress=to_z))
    cni_grid.check("ingress rules only", sources=ends, destinations=ends, ports=(80,))


@requirement("NP-DEF-2", feature="networkpolicy/isolation", source=NETPOL_API)
def test_rules_of_an_unlisted_type_have_no_effect(cni_grid: Grid) -> None:
    """Rules of a direction that policyTypes does not list neither isolate nor allow."""
    ends = ["x/a", "x/c", "y/a", "y/b", "z/c"]
    some, other = [rule([peer(namespaces={"ns": "y"})])], [rule([peer(namespaces={"ns": "z"})])]
    for kind in (EGRESS, INGRESS):
        cni_grid.apply(network_policy("typed", "x", {}, ingress=some, egress=other, types=[kind]))
        cni_grid.check(f"policyTypes lists {kind} only", sources=ends, destinations=ends, ports=(80,))


@requirement("NP-EMP-1", feature="networkpolicy/isolation", source=NETPOL_API)
def test_an_empty_list_of_rules_allows_nothing(cni_grid: Grid) -> None:
    """A listed type with an empty list of rules denies its direction, as one without a list does."""
    ends = ["x/a", "x/c", "y/a", "z/c"]
    cni_grid.apply(network_policy("empty", "x", {}, ingress=[], types=[INGRESS]))
    cni_grid.check("ingress: []", sources=ends, destinations=ends, ports=(80,))
    cni_grid.apply(network_policy("empty", "x", {}, egress=[], types=[EGRESS]))
    cni_grid.check("egress: []", sources=ends, destinations=ends, ports=(80,))


@requirement("NP-EMP-2", feature="networkpolicy/isolation", source=NETPOL_DOCS + "#allow-all-ingress-traffic")
def test_an_empty_rule_allows_everything(cni_grid: Grid) -> None:
    """A rule without peers and ports allows everything in its direction, whatever other policies say."""
    ends = ["x/a", "x/b", "x/c", "y/a", "z/c"]
    cni_grid.apply(
        network_policy("default-deny", "x", {}, types=[INGRESS, EGRESS]),
        network_policy("open-in", "x", {"pod": "a"}, ingress=[rule()], types=[INGRESS]),
    )
    cni_grid.check("ingress: [{}] for x/a", sources=ends, destinations=ends)
    cni_grid.apply(network_policy("open-out", "x", {"pod": "a"}, egress=[rule()], types=[EGRESS]))
    cni_grid.check("egress: [{}] for x/a too", sources=ends, destinations=ends)
