# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: whom a peer selects, and how peers and ports of a rule combine."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import EGRESS, network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

SUBJECTS = ("x/a", "x/c")
"""Pods of the isolated namespace; between them they have peers of each kind on their own node and on others."""


@requirement("NP-EMP-5", feature="networkpolicy/peers", source=NETPOL_API)
def test_a_pod_selector_peer_stays_in_its_namespace(cni_grid: Grid) -> None:
    """A podSelector without namespaceSelector selects pods of the policy's own namespace only."""
    cni_grid.apply(network_policy("own-only", "x", {}, ingress=[rule([peer(pods={})])]))
    cni_grid.check("own namespace only", destinations=["x/a", "x/b", "x/c"])


@pytest.mark.smoke
@requirement(
    "NP-AND-1", feature="networkpolicy/peers", source=NETPOL_DOCS + "#behavior-of-to-and-from-selectors"
)
def test_selectors_in_one_peer_are_anded(cni_grid: Grid) -> None:
    """The selectors for namespaces and pods are ANDed in one peer, and ORed as two peers."""
    both = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=both))
    cni_grid.check("one peer: y and b", destinations=["x/a"])
    either = [rule([peer(pods={"pod": "b"}), peer(namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=either))
    cni_grid.check("two peers: y or b", destinations=["x/a"])


@requirement("NP-AND-2", feature="networkpolicy/peers", source=NETPOL_API)
def test_rules_are_not_cross_multiplied(cni_grid: Grid) -> None:
    """Peers of one rule do not combine with the ports of another."""
    rules = [
        rule([peer(namespaces={"ns": "y"})], [port(80)]),
        rule([peer(namespaces={"ns": "z"})], [port(81)]),
    ]
    cni_grid.apply(network_policy("two-rules", "x", {"pod": "a"}, ingress=rules))
    cni_grid.check("y on 80 or z on 81", destinations=["x/a"])


@requirement("NP-AND-3", feature="networkpolicy/peers", source=NETPOL_API)
def test_equal_labels_in_another_namespace_are_not_selected(cni_grid: Grid) -> None:
    """A podSelector without namespaceSelector does not select pods of other namespaces that carry the labels."""
    cni_grid.apply(network_policy("from-b", "x", {}, ingress=[rule([peer(pods={"pod": "b"})])]))
    cni_grid.check("x/b only", destinations=SUBJECTS, ports=(80,))
    to_b = [rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("from-b", "x", {}, egress=to_b, types=[EGRESS]))
    cni_grid.check("to x/b only", sources=SUBJECTS, ports=(80,))


@requirement("NP-EMP-3", feature="networkpolicy/peers", source=NETPOL_API)
def test_a_rule_without_peers_or_without_ports_means_all_of_them(cni_grid: Grid) -> None:
    """A rule without peers is for everyone, and a rule without ports for every port and protocol."""
    cni_grid.apply(network_policy("half", "x", {}, ingress=[rule(ports=[port(80)])]))
    cni_grid.check("80/TCP from everyone", destinations=SUBJECTS)
    from_y = [rule([peer(namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("half", "x", {}, ingress=from_y))
    cni_grid.check("everything from y", destinations=SUBJECTS)
    for empty in (rule([], [port(81, "UDP")]), rule([peer(namespaces={"ns": "y"})], [])):
        cni_grid.apply(network_policy("half", "x", {}, ingress=[empty]))
        cni_grid.check("an empty list of the one and some of the other", destinations=SUBJECTS)


@pytest.mark.smoke
@requirement("NP-EMP-6", feature="networkpolicy/peers", source=NETPOL_API)
def test_an_empty_namespace_selector_selects_all_namespaces(cni_grid: Grid) -> None:
    """A namespaceSelector that is empty selects the pods of all namespaces; other ports stay closed."""
    everyone = [rule([peer(namespaces={})], [port(80)])]
    cni_grid.apply(network_policy("all-namespaces", "x", {}, ingress=everyone))
    cni_grid.check("80/TCP from all pods", destinations=SUBJECTS, protocols=(Protocol.TCP,))
    cni_grid.apply(network_policy("all-namespaces", "x", {}, egress=everyone, types=[EGRESS]))
    cni_grid.check("80/TCP to all pods", sources=SUBJECTS, protocols=(Protocol.TCP,))
    b_only = [rule([peer(pods={"pod": "b"}, namespaces={})])]
    cni_grid.apply(network_policy("all-namespaces", "x", {}, ingress=b_only))
    cni_grid.check("pods b of all namespaces", destinations=SUBJECTS, protocols=(Protocol.TCP,))


@requirement(
    "NP-AND-1-EGRESS",
    feature="networkpolicy/peers",
    source=NETPOL_DOCS + "#behavior-of-to-and-from-selectors",
)
def test_selectors_in_one_egress_peer_are_anded(cni_grid: Grid) -> None:
    """In egress rules too the selectors of one peer are ANDed, and several peers are ORed."""
    both = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {}, egress=both, types=[EGRESS]))
    cni_grid.check("one peer: y and b", sources=SUBJECTS, ports=(80,))
    either = [rule([peer(pods={"pod": "b"}), peer(namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {}, egress=either, types=[EGRESS]))
    cni_grid.check("two peers: y or b", sources=SUBJECTS, ports=(80,))


@requirement("NP-AND-2-EGRESS", feature="networkpolicy/peers", source=NETPOL_API)
def test_egress_rules_are_not_cross_multiplied(cni_grid: Grid) -> None:
    """Peers of one egress rule do not combine with the ports of another."""
    rules = [
        rule([peer(namespaces={"ns": "y"})], [port(80)]),
        rule([peer(namespaces={"ns": "z"})], [port(81)]),
    ]
    cni_grid.apply(network_policy("two-rules", "x", {}, egress=rules, types=[EGRESS]))
    cni_grid.check("to y on 80 or to z on 81", sources=SUBJECTS, protocols=(Protocol.TCP,))
