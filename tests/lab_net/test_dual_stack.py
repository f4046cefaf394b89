# SPDX-License-Identifier: Apache-2.0
"""The same network over IPv6, beside IPv4 and alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab_net.conftest import require_kernel
from tests.lab_net.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [
    (profile, families)
    for profile in ("flannel", "calico", "cilium")
    for families in (("ipv4", "ipv6"), ("ipv6",))
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{'+'.join(case[1])}")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require_kernel()
    profile, families = request.param
    world = World(profile, tmp_path_factory.mktemp(profile), (), families)
    world.namespace("x")
    world.pods_at_once([("x/a", "lab-worker1", {}), ("x/b", "lab-worker1", {}), ("x/c", "lab-worker2", {})])
    yield world
    world.close()


def addresses(world: World, key: str) -> tuple[str, ...]:
    return world.pods[key].net.ips


@pytest.mark.parametrize("target", ["x/b", "x/c"])
def test_pods_meet_in_every_family(world: World, target: str) -> None:
    for index, ip in enumerate(addresses(world, target)):
        answer = world.answer("x/a", ip, size=200_000, timeout=5)
        assert answer["verdict"] == "open", (ip, answer)
        assert answer["text"].split()[1].removeprefix("::ffff:") == addresses(world, "x/a")[index]
        assert world.probe("x/a", ip, kind="udp") == "open"


def test_nodes_and_services_in_every_family(world: World) -> None:
    world.service("x/s", ["x/b", "x/c"])
    for index, ip in enumerate(addresses(world, "x/c")):
        assert world.probe("lab-worker1", ip) == "open"
        service = world.cluster_ip("x/s", index)
        assert {world.answer("x/a", service)["text"].split()[0] for _ in range(20)} == {"x/b", "x/c"}
    world.service("x/s", [])
    for index in range(len(world.families)):
        assert world.probe("x/a", world.cluster_ip("x/s", index)) == "refused"
        assert world.probe("x/a", world.cluster_ip("x/s", index), kind="udp") == "refused"


def test_policy_holds_in_every_family(world: World) -> None:
    if world.profile == "flannel":
        pytest.skip("flannel has no policy engine")
    peer = {"podSelector": {"matchLabels": {"pod": "b"}}}
    world.policy("x/p", {"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"from": [peer]}]})
    try:
        for ip in addresses(world, "x/a"):
            assert world.probe("x/b", ip) == "open"
            assert world.probe("x/c", ip) == "timeout"
    finally:
        world.no_policies()
