# SPDX-License-Identifier: Apache-2.0
"""The policy compiler on paper: which chains and sets a node gets, without a kernel."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.lab.dataplane import ciliumpolicy, networkpolicy, ranges
from pytest_cniconformance.lab.dataplane.addressing import Plan
from pytest_cniconformance.lab.dataplane.nft import Table
from pytest_cniconformance.lab.dataplane.policy import SEMANTICS, Policy
from pytest_cniconformance.lab.dataplane.policytable import PolicyTable
from pytest_cniconformance.lab.dataplane.selectors import matches
from pytest_cniconformance.lab.dataplane.view import Pod, View

PLAN = Plan.of(("n1", "n2"), ("ipv4",))


def pod(key: str, node: str, ip: str, ports: tuple[tuple[str, str, int], ...] = (), **labels: str) -> Pod:
    namespace, name = key.split("/")
    identity = {**labels, "io.kubernetes.pod.namespace": namespace}
    return Pod(namespace, name, node, (ip,), labels, identity, ports)


PODS = (
    pod("x/a", "n1", "10.244.1.2", (("web", "tcp", 80),), app="a"),
    pod("x/b", "n2", "10.244.2.2", (("web", "tcp", 8080),), app="b"),
    pod("y/b", "n1", "10.244.1.3", app="b"),
)


def np(profile: str = "calico", **spec: Any) -> Policy:
    obj = {"metadata": {"namespace": "x", "name": "p"}, "spec": {"podSelector": {}, **spec}}
    return networkpolicy.parse(obj, SEMANTICS[profile])


def compiled(*policies: Policy, profile: str = "calico", node: int = 0) -> Table:
    view = View(PODS, {"x": {"ns": "x"}, "y": {"ns": "y"}})
    semantics = SEMANTICS[profile]
    build = PolicyTable(view, PLAN, PLAN.nodes[node], semantics, (), lambda p: f"if-{p.key}", "tun", "cali")
    return build.build(policies)


def rules(table: Table, prefix: str) -> list[str]:
    return [rule for name, chain in table.chains.items() if name.startswith(prefix) for rule in chain.rules]


def elements(table: Table, prefix: str) -> list[list[str]]:
    return [list(entry.elements) for name, entry in table.sets.items() if name.startswith(prefix)]


def test_no_policy_needs_no_table() -> None:
    assert compiled().empty


def test_only_pods_of_the_node_that_a_policy_selects_get_a_chain() -> None:
    table = compiled(np(policyTypes=["Ingress"]))
    assert list(table.sets["ingress-of"].elements) == ['"if-x/a"']
    assert table.sets["egress-of"].elements == {}
    assert rules(table, "in-") == ["drop"]


def test_peers_become_sets_named_after_their_selector() -> None:
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}
    table = compiled(np(ingress=[rule]))
    [name] = [name for name in table.sets if name.startswith("pods4")]
    assert elements(table, "pods4") == [["10.244.2.2"]]
    assert rules(table, "pol-in") == [f"ip saddr @{name} tcp dport {{ 80 }} accept"]


def test_ports_of_one_protocol_are_merged_and_protocols_are_not() -> None:
    ports = [
        {"port": 80, "endPort": 90},
        {"port": 85},
        {"port": 91},
        {"protocol": "UDP"},
        {"port": 7, "protocol": "SCTP"},
    ]
    assert rules(compiled(np(ingress=[{"ports": ports}])), "pol-in") == [
        "tcp dport { 80-91 } accept",
        "meta l4proto udp accept",
        "sctp dport { 7 } accept",
    ]


def test_named_ports_are_resolved_per_destination() -> None:
    table = compiled(np(ingress=[{"ports": [{"port": "web"}]}]))
    assert elements(table, "named4") == [["10.244.1.2 . tcp . 80", "10.244.2.2 . tcp . 8080"]]


def test_a_name_that_means_two_numbers_in_one_identity_is_skipped_by_cilium() -> None:
    twins = tuple(
        pod(f"x/{name}", "n1", ip, (("web", "tcp", number),), app="twin")
        for name, ip, number in (("t1", "10.244.1.8", 80), ("t2", "10.244.1.9", 81))
    )
    view = View((*PODS, *twins), {})
    peer = {"podSelector": {"matchLabels": {"app": "twin"}}}
    for profile, expected in (("calico", 2), ("cilium", 0)):
        policy = np(profile=profile, egress=[{"to": [peer], "ports": [{"port": "web"}]}])
        build = PolicyTable(view, PLAN, PLAN.nodes[0], SEMANTICS[profile], (), lambda p: p.key, "t", "c")
        assert [len(e) for e in elements(build.build([policy]), "named4")] == [expected]


def test_except_is_cut_out_and_cilium_also_cuts_out_the_cluster() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    for profile, expected in (
        ("calico", ["10.0.0.0-10.0.255.255", "10.2.0.0-10.255.255.255"]),
        ("cilium", ["10.0.0.0-10.0.255.255", "10.2.0.0-10.243.255.255", "10.245.0.0-10.255.255.255"]),
    ):
        policy = np(profile=profile, ingress=[{"from": [block]}])
        assert elements(compiled(policy, profile=profile), "nets4") == [expected]


def test_policy_types_default_and_deviation() -> None:
    assert np(egress=[{}]).isolates == {"ingress", "egress"}
    assert np(ingress=[{}]).isolates == {"ingress"}
    assert np(policyTypes=["Egress"], ingress=[{}]).isolates == {"egress"}
    assert np(policyTypes=["Egress"], ingress=[{}], profile="cilium").isolates == {"ingress", "egress"}


def cnp(**spec: Any) -> Policy:
    obj = {"metadata": {"namespace": "x", "name": "p"}, "spec": {"endpointSelector": {}, **spec}}
    [policy] = ciliumpolicy.parse(obj, ())
    return policy


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"matchLabels": {"app": "b"}}, ["x/b"]),
        ({"matchLabels": {"k8s:app": "b", "k8s:io.kubernetes.pod.namespace": "y"}}, ["y/b"]),
        (
            {"matchExpressions": [{"key": "io.kubernetes.pod.namespace", "operator": "Exists"}]},
            ["x/a", "x/b", "y/b"],
        ),
        ({}, ["x/a", "x/b"]),
    ],
)
def test_cilium_peers_are_of_the_policys_namespace_unless_they_name_one(
    selector: dict[str, Any], chosen: list[str]
) -> None:
    policy = cnp(ingress=[{"fromEndpoints": [selector]}])
    [peer] = policy.ingress[0].peers or ()
    assert [p.key for p in View(PODS, {}).members(peer)] == chosen  # type: ignore[arg-type]


def test_cilium_empty_rule_isolates_and_empty_peer_list_selects_nothing() -> None:
    assert (cnp(ingress=[{}]).isolates, cnp(ingress=[{}]).ingress) == ({"ingress"}, ())
    ports = [{"ports": [{"port": "80", "protocol": "TCP"}]}]
    assert cnp(ingress=[{"fromEndpoints": [], "toPorts": ports}]).ingress[0].peers == ()
    assert cnp(ingress=[{"toPorts": ports}]).ingress[0].peers is None
    assert cnp(egress=[{"toFQDNs": [{"matchName": "a"}], "toPorts": ports}]).egress[0].peers == ()
    assert cnp(ingress=[{"fromEndpoints": [{}]}], enableDefaultDeny={"ingress": False}).isolates == set()


def test_cilium_any_protocol_is_three_and_zero_is_all_ports() -> None:
    [rule] = cnp(ingress=[{"toPorts": [{"ports": [{"port": "53"}]}]}]).ingress
    assert [port.protocol for port in rule.ports or ()] == ["tcp", "udp", "sctp"]
    [rule] = cnp(ingress=[{"toPorts": [{"ports": [{"port": "0", "protocol": "UDP"}]}]}]).ingress
    assert [(port.protocol, port.low) for port in rule.ports or ()] == [("udp", None)]


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["1", "2"], [True, False, False]),
        ("NotIn", ["1"], [False, True, True]),
        ("Exists", [], [True, True, False]),
        ("DoesNotExist", [], [False, False, True]),
    ],
)
def test_selector_operators(operator: str, values: list[str], expected: list[bool]) -> None:
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    assert [matches(selector, labels) for labels in ({"k": "1"}, {"k": ""}, {})] == expected


def test_ranges() -> None:
    assert ranges.union([(5, 9), (1, 2), (3, 4), (20, 30)]) == [(1, 9), (20, 30)]
    assert ranges.subtract([(0, 10)], [(3, 4), (10, 12)]) == [(0, 2), (5, 9)]
    assert ranges.to_cidrs(ranges.of_family(["10.0.0.0/8"], "ipv4"), "ipv4") == ["10.0.0.0/8"]
