# SPDX-License-Identifier: Apache-2.0
"""Pods, nodes and the outside reach one another as each CNI promises, with real packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lab_net.world import World

PAIRS = [("x/a", "x/b"), ("x/b", "x/a"), ("x/a", "x/c"), ("x/c", "x/a")]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_pods_reach_one_another_with_their_own_address(
    any_world: World, source: str, target: str, kind: str
) -> None:
    answer = any_world.answer(source, any_world.pods[target].ip, kind=kind)
    assert (answer["verdict"], answer["text"]) == ("open", f"{target} {any_world.pods[source].ip}")


def test_a_closed_port_refuses(any_world: World) -> None:
    assert any_world.probe("x/a", any_world.pods["x/c"].ip, 9999) == "refused"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_large_payloads_arrive_unchanged(any_world: World, source: str, target: str) -> None:
    assert any_world.answer(source, any_world.pods[target].ip, size=2_000_000, timeout=10)["text"].startswith(
        target
    )


def test_pods_know_the_mtu_of_the_tunnel(any_world: World) -> None:
    assert "mtu 1450" in any_world.shell("ip link show eth0", any_world.pods["x/c"].netns)


@pytest.mark.parametrize("node", ["lab-worker1", "lab-worker2"])
def test_nodes_reach_pods_and_pods_reach_nodes(any_world: World, node: str) -> None:
    assert any_world.probe(node, any_world.pods["x/a"].ip) == "open"
    number = node[-1]
    # Nothing listens there, so the node itself has to say so.
    assert any_world.probe("x/a", f"172.30.1.{number}", 4444) == "refused"


def test_pods_leave_the_cluster_with_their_nodes_address(any_world: World) -> None:
    any_world.do(any_world.sandbox.ask("serve", netns="outside", name="outside", port=7000))
    answer = any_world.answer("x/a", "172.30.2.1", 7000)
    assert answer["text"] == "outside 172.30.1.1"


def test_outside_reaches_nodes_but_neither_pods_nor_services(any_world: World) -> None:
    assert any_world.probe("outside", "172.30.1.1", 4444) == "refused"
    assert any_world.probe("outside", any_world.pods["x/a"].ip) == "unreachable"
    assert any_world.probe("outside", "10.96.0.1") == "unreachable"


def test_a_removed_pod_leaves_nothing_behind(any_world: World) -> None:
    before = any_world.shell("ip -o link | wc -l; ip -o route | wc -l", "lab-worker1")
    any_world.pod("x/gone", "lab-worker1")
    assert any_world.probe("x/a", any_world.pods["x/gone"].ip) == "open"
    any_world.remove_pod("x/gone")
    assert any_world.shell("ip -o link | wc -l; ip -o route | wc -l", "lab-worker1") == before
    assert "x-gone" not in any_world.shell("ls /run/netns")
