# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy as the API documents it, judged by packets, under both profiles that enforce it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_net.conftest import policy_world
from tests.lab_net.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

SAME = {"matchLabels": {"pod": "b"}}


@pytest.fixture(scope="module", params=["calico", "cilium"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = policy_world(request.param, tmp_path_factory.mktemp(request.param))
    yield world
    world.close()


@pytest.fixture
def world(engine: World) -> Iterator[World]:
    yield engine
    engine.no_policies()


def np(pods: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": pods} if pods else {}, **spec}


def expect(world: World, expected: dict[tuple[str, str, int], str], **options: Any) -> None:
    found = world.verdicts(list(expected), **options)
    late = [cell for cell, verdict in found.items() if verdict == DROP and expected[cell] == OPEN]
    # A starved machine may answer late; what is dropped stays dropped.
    found |= world.verdicts(late, timeout=5, **options)
    assert found == expected


OPEN, DROP = "open", "timeout"


def test_without_policy_everything_is_open(world: World) -> None:
    keys = list(world.pods)
    cells = {(a, b, p): OPEN for a in keys for b in keys for p in (80, 81)}
    expect(world, cells)


def test_default_deny_isolates_every_pod_of_the_namespace_and_no_other(world: World) -> None:
    world.policy("x/deny", np(policyTypes=["Ingress"]))
    expect(
        world,
        {
            ("y/a", "x/a", 80): DROP,
            ("x/b", "x/a", 80): DROP,
            ("x/a", "x/a", 80): OPEN,  # nobody can be cut off from himself
            ("x/a", "y/a", 80): OPEN,
            ("z/a", "y/b", 81): OPEN,
        },
    )
    expect(world, {("y/a", "x/a", 80): DROP, ("x/a", "y/a", 80): OPEN}, kind="udp")


def test_egress_deny_leaves_ingress_alone_and_answers_pass(world: World) -> None:
    world.policy("x/deny", np({"pod": "a"}, policyTypes=["Egress"]))
    expect(world, {("x/a", "y/a", 80): DROP, ("y/a", "x/a", 80): OPEN, ("x/b", "x/a", 80): OPEN})


def test_the_own_node_is_always_let_in_and_other_nodes_are_not(world: World) -> None:
    world.policy("x/deny", np(policyTypes=["Ingress"]))
    target = world.pods["x/a"]
    assert world.probe(target.node, target.ip) == OPEN
    assert world.probe("lab-worker3", target.ip) == DROP


def test_selectors_in_one_peer_are_anded_and_peers_ored(world: World) -> None:
    both = {"namespaceSelector": {"matchLabels": {"ns": "y"}}, "podSelector": SAME}
    world.policy("x/p", np({"pod": "a"}, ingress=[{"from": [both]}]))
    expect(world, {("y/b", "x/a", 80): OPEN, ("y/a", "x/a", 80): DROP, ("x/b", "x/a", 80): DROP})
    apart = [{"namespaceSelector": both["namespaceSelector"]}, {"podSelector": SAME}]
    world.policy("x/p", np({"pod": "a"}, ingress=[{"from": apart}]))
    expect(
        world,
        {
            ("y/b", "x/a", 80): OPEN,
            ("y/a", "x/a", 80): OPEN,
            ("x/b", "x/a", 80): OPEN,
            ("z/b", "x/a", 80): DROP,
        },
    )


def test_an_empty_pod_selector_peer_means_the_policys_own_namespace(world: World) -> None:
    world.policy("x/p", np({"pod": "a"}, ingress=[{"from": [{"podSelector": {}}]}]))
    expect(world, {("x/b", "x/a", 80): OPEN, ("y/b", "x/a", 80): DROP})
    assert world.probe("outside", "172.30.1.1", 30000) != OPEN


def test_an_empty_rule_allows_all_and_no_rule_allows_none(world: World) -> None:
    world.policy("x/p", np({"pod": "a"}, ingress=[{}]))
    expect(world, {("y/a", "x/a", 80): OPEN, ("z/b", "x/a", 81): OPEN})
    world.policy("x/p", np({"pod": "a"}, ingress=[], policyTypes=["Ingress"]))
    expect(world, {("y/a", "x/a", 80): DROP, ("z/b", "x/a", 81): DROP})


def test_ports_default_to_tcp_and_protocols_are_apart(world: World) -> None:
    world.policy("x/p", np({"pod": "a"}, ingress=[{"ports": [{"port": 80}]}]))
    expect(world, {("y/a", "x/a", 80): OPEN, ("y/a", "x/a", 81): DROP})
    expect(world, {("y/a", "x/a", 80): DROP}, kind="udp")
    world.policy("x/p", np({"pod": "a"}, ingress=[{"ports": [{"protocol": "UDP"}]}]))
    expect(world, {("y/a", "x/a", 80): DROP})
    expect(world, {("y/a", "x/a", 80): OPEN}, kind="udp")


def test_end_port_is_inclusive(world: World) -> None:
    world.policy("x/p", np({"pod": "a"}, ingress=[{"ports": [{"port": 80, "endPort": 81}]}]))
    expect(world, {("y/a", "x/a", 80): OPEN, ("y/a", "x/a", 81): OPEN, ("y/a", "x/a", 82): DROP})


def test_rules_are_not_multiplied_with_one_another(world: World) -> None:
    rules = [
        {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}], "ports": [{"port": 80}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"ns": "z"}}}], "ports": [{"port": 81}]},
    ]
    world.policy("x/p", np({"pod": "a"}, ingress=rules))
    expect(
        world,
        {
            ("y/a", "x/a", 80): OPEN,
            ("y/a", "x/a", 81): DROP,
            ("z/a", "x/a", 80): DROP,
            ("z/a", "x/a", 81): OPEN,
        },
    )


def test_policies_add_up(world: World) -> None:
    for name, ns, port in (("one", "y", 80), ("two", "z", 81)):
        peer = {"namespaceSelector": {"matchLabels": {"ns": ns}}}
        world.policy(f"x/{name}", np({"pod": "a"}, ingress=[{"from": [peer], "ports": [{"port": port}]}]))
    expect(
        world,
        {
            ("y/a", "x/a", 80): OPEN,
            ("z/a", "x/a", 81): OPEN,
            ("y/a", "x/a", 81): DROP,
            ("z/a", "x/a", 80): DROP,
        },
    )


def test_both_directions_have_to_allow(world: World) -> None:
    to_y = [{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]
    world.policy("x/out", np({"pod": "a"}, egress=to_y, policyTypes=["Egress"]))
    only_z = [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "z"}}}]}]
    world.policy("y/in", np({"pod": "b"}, ingress=only_z))
    expect(
        world,
        {
            ("x/a", "y/b", 80): DROP,
            ("x/a", "y/a", 80): OPEN,
            ("z/a", "y/b", 80): OPEN,
            ("x/a", "z/a", 80): DROP,
        },
    )


def test_named_ports_are_those_of_the_destination(world: World) -> None:
    # n/a calls port 80 "web", n/b calls port 81 so.
    world.policy("n/p", np(ingress=[{"ports": [{"port": "web"}]}]))
    expect(
        world,
        {
            ("x/a", "n/a", 80): OPEN,
            ("x/a", "n/a", 81): DROP,
            ("x/a", "n/b", 81): OPEN,
            ("x/a", "n/b", 80): DROP,
        },
    )
    world.no_policies()
    to_n = [{"to": [{"namespaceSelector": {"matchLabels": {"ns": "n"}}}], "ports": [{"port": "web"}]}]
    world.policy("x/p", np({"pod": "a"}, egress=to_n))
    expect(world, {("x/a", "n/a", 80): OPEN, ("x/a", "n/b", 81): OPEN, ("x/a", "n/b", 80): DROP})


def test_except_concerns_only_its_own_block(world: World) -> None:
    outside = "172.30.2.1"
    world.do(world.sandbox.ask("serve", netns="outside", name="outside", port=7001))
    block = {"ipBlock": {"cidr": "172.30.0.0/16", "except": ["172.30.2.0/24"]}}
    world.policy("x/one", np({"pod": "a"}, egress=[{"to": [block]}], policyTypes=["Egress"]))
    assert world.probe("x/a", outside, 7001) == DROP
    more = [{"to": [{"ipBlock": {"cidr": "172.30.2.1/32"}}]}]
    world.policy("x/two", np({"pod": "a"}, egress=more, policyTypes=["Egress"]))
    assert world.probe("x/a", outside, 7001) == OPEN


def test_an_ip_block_matches_pods_in_calico_and_never_in_cilium(world: World) -> None:
    block = {"ipBlock": {"cidr": "0.0.0.0/0"}}
    world.policy("x/p", np({"pod": "a"}, ingress=[{"from": [block]}]))
    verdict = OPEN if world.profile == "calico" else DROP
    expect(world, {("y/a", "x/a", 80): verdict, ("x/b", "x/a", 80): verdict})


def test_unlisted_sections_count_in_cilium_only(world: World) -> None:
    spec = np({"pod": "a"}, policyTypes=["Egress"], ingress=[{"from": [{"podSelector": SAME}]}], egress=[{}])
    world.policy("x/p", spec)
    expect(world, {("y/a", "x/a", 80): OPEN if world.profile == "calico" else DROP, ("x/b", "x/a", 80): OPEN})


def test_services_are_policed_behind_the_translation(world: World) -> None:
    world.service("x/s", ["x/a"], port=8080, target=80)
    address = world.cluster_ip("x/s")
    allow = [{"from": [{"podSelector": SAME}], "ports": [{"port": 80}]}]
    world.policy("x/p", np({"pod": "a"}, ingress=allow))
    assert world.probe("x/b", address, 8080) == OPEN
    assert world.probe("y/a", address, 8080) == DROP
    world.policy("x/p", np({"pod": "a"}, ingress=[{"ports": [{"port": 8080}]}]))
    assert world.probe("x/b", address, 8080) == DROP


def test_updates_relabels_and_deletes_take_effect(world: World) -> None:
    peer = [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}]
    world.policy("x/p", np({"pod": "a"}, ingress=peer))
    expect(world, {("x/b", "x/a", 80): DROP})
    world.relabel("x/b", {"pod": "b", "role": "friend"})
    expect(world, {("x/b", "x/a", 80): OPEN})
    world.relabel("x/b", {"pod": "b"})
    expect(world, {("x/b", "x/a", 80): DROP})
    world.policy("x/p", np({"pod": "a"}, ingress=[{}]))
    expect(world, {("x/b", "x/a", 80): OPEN})
    world.policy("x/p", np({"pod": "a"}, policyTypes=["Ingress"]))
    expect(world, {("x/b", "x/a", 80): DROP})
    world.no_policies()
    expect(world, {("x/b", "x/a", 80): OPEN})


def test_namespace_labels_are_followed(world: World) -> None:
    peer = [{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}]}]
    world.policy("x/p", np({"pod": "a"}, ingress=peer))
    expect(world, {("y/a", "x/a", 80): DROP})
    world.namespace("y", ns="y", team="red")
    world.settle()
    expect(world, {("y/a", "x/a", 80): OPEN})
    world.namespace("y", ns="y")
    world.settle()
    expect(world, {("y/a", "x/a", 80): DROP})


def test_a_new_pod_is_isolated_from_the_start_and_is_a_peer_at_once(world: World) -> None:
    peer = [{"from": [{"podSelector": {"matchLabels": {"pod": "late"}}}]}]
    world.policy("x/p", np(ingress=peer))
    world.pod("x/late", "lab-worker3")
    try:
        world.settle()
        expect(world, {("x/late", "x/a", 80): OPEN, ("y/a", "x/late", 80): DROP})
    finally:
        world.remove_pod("x/late")


def test_established_connections_live_on_in_calico_and_are_cut_in_cilium(world: World) -> None:
    [held] = world.do(
        world.sandbox.ask("hold", netns=world.pods["y/a"].netns, ip=world.pods["x/a"].ip, port=80)
    )
    world.policy("x/deny", np(policyTypes=["Ingress"]))
    expect(world, {("y/a", "x/a", 80): DROP})
    alive = world.do(world.sandbox.ask("poke", fd=held, close=True))
    assert alive is (world.profile == "calico")
