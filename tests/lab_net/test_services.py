# SPDX-License-Identifier: Apache-2.0
"""Services through nftables: ClusterIP, NodePort, load balancer, affinity, policies of traffic."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.lab_net.conftest import spread_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab_net.world import World

BACKENDS = ["x/b1", "x/b2", "x/b3"]
VIP = "172.30.100.7"


@pytest.fixture(scope="module", params=["flannel", "calico", "cilium"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = spread_world(request.param, tmp_path_factory.mktemp(request.param))
    yield world
    world.close()


def answers(world: World, source: str, ip: str, port: int, times: int, **options: object) -> Counter[str]:
    found = [world.answer(source, ip, port, **options) for _ in range(times)]
    assert {f["verdict"] for f in found} == {"open"}, found
    return Counter(f["text"].split()[0] for f in found)


def test_cluster_ip_spreads_over_all_endpoints_and_keeps_the_clients_address(world: World) -> None:
    world.service("x/s", BACKENDS, port=8000, target=81)
    found = answers(world, "x/a", world.cluster_ip("x/s"), 8000, 60)
    assert set(found) == set(BACKENDS)
    assert world.answer("x/a", world.cluster_ip("x/s"), 8000)["text"].split()[1] == world.pods["x/a"].ip


def test_udp_services_and_nodes_as_clients(world: World) -> None:
    world.service("x/u", BACKENDS, port=53, target=80, protocol="UDP")
    assert set(answers(world, "x/a", world.cluster_ip("x/u"), 53, 40, kind="udp")) == set(BACKENDS)
    assert set(answers(world, "lab-worker3", world.cluster_ip("x/u"), 53, 40, kind="udp")) == set(BACKENDS)
    world.service("x/s", BACKENDS)
    assert set(answers(world, "lab-worker1", world.cluster_ip("x/s"), 80, 40)) == set(BACKENDS)


def test_a_pod_reaches_itself_through_its_service(world: World) -> None:
    world.service("x/h", ["x/b1"])
    assert world.answer("x/b1", world.cluster_ip("x/h"))["text"].startswith("x/b1 ")


def test_a_service_without_endpoints_and_an_unused_port_refuse(world: World) -> None:
    world.service("x/s", [])
    assert world.probe("x/a", world.cluster_ip("x/s")) == "refused"
    assert world.probe("lab-worker2", world.cluster_ip("x/s")) == "refused"
    world.service("x/s", BACKENDS)
    assert world.probe("x/a", world.cluster_ip("x/s"), 81) == "refused"
    assert world.probe("x/a", world.cluster_ip("x/s")) == "open"


def test_client_ip_affinity_sticks_and_expires(world: World) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    world.service("x/s", BACKENDS, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    address = world.cluster_ip("x/s")
    [(first, _)] = answers(world, "x/a", address, 80, 25).items()
    # Other policies of other Services do not disturb what the kernel remembers.
    world.service("x/other", BACKENDS)
    assert set(answers(world, "x/a", address, 80, 5)) == {first}
    remembered = "nft -j list ruleset | grep -c expires || true"
    assert world.until(lambda: world.shell(remembered, "lab-worker1").strip() == "0", attempts=2000)


def test_node_ports_on_every_node_and_the_source_of_cluster_traffic(world: World) -> None:
    world.service("x/s", BACKENDS, type="NodePort", node_port=30080)
    for number in (1, 2, 3):
        assert set(answers(world, "outside", f"172.30.1.{number}", 30080, 30)) == set(BACKENDS)
        assert world.probe("x/a", f"172.30.1.{number}", 30080) == "open"
        assert world.probe("lab-worker1", f"172.30.1.{number}", 30080) == "open"
    assert world.answer("outside", "172.30.1.1", 30080)["text"].split()[1] != "172.30.2.1"
    assert world.probe("outside", "172.30.1.1", 30081) == "refused"


def test_external_traffic_policy_local_keeps_the_source_and_stays_on_the_node(world: World) -> None:
    world.service("x/s", ["x/b1", "x/b2"], type="NodePort", node_port=30080, externalTrafficPolicy="Local")
    assert world.answer("outside", "172.30.1.1", 30080)["text"] == "x/b1 172.30.2.1"
    assert world.answer("outside", "172.30.1.2", 30080)["text"] == "x/b2 172.30.2.1"
    assert world.probe("outside", "172.30.1.3", 30080) == "timeout"
    assert set(answers(world, "x/a", world.cluster_ip("x/s"), 80, 30)) == {"x/b1", "x/b2"}


def test_internal_traffic_policy_local(world: World) -> None:
    world.service("x/s", ["x/b1", "x/b2"], internalTrafficPolicy="Local")
    address = world.cluster_ip("x/s")
    assert set(answers(world, "x/a", address, 80, 15)) == {"x/b1"}
    assert world.probe("x/b3", address) == "timeout"


def test_hints_are_followed_where_the_cni_does_and_never_to_nowhere(world: World) -> None:
    world.service("x/near", ["x/b1", "x/b3"], trafficDistribution="PreferClose")
    nodes = {world.pods[key].node: key for key in ("x/b1", "x/b3")}
    for node in ("lab-worker1", "lab-worker2", "lab-worker3"):
        close = nodes.get(node) if world.profile != "cilium" else None
        found = set(answers(world, node, world.cluster_ip("x/near"), 80, 40))
        assert found == ({close} if close else {"x/b1", "x/b3"}), node


def test_external_ips(world: World) -> None:
    world.service("x/s", BACKENDS, externalIPs=["172.30.99.9"])
    assert world.probe("x/a", "172.30.99.9") == "open"


def test_load_balancer_address_is_answered_by_one_node_and_withdrawn(world: World) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": VIP}]}}
    world.service("x/lb", BACKENDS, type="LoadBalancer", node_port=30090, status=status)
    assert set(answers(world, "outside", VIP, 80, 30)) == set(BACKENDS)
    assert world.probe("x/a", VIP) == "open"
    world.service(
        "x/lb",
        ["x/b2"],
        type="LoadBalancer",
        node_port=30090,
        externalTrafficPolicy="Local",
        status=status,
    )
    # The old node may answer the outside once more after the first announcement; the second one settles it.
    assert world.until(lambda: world.answer("outside", VIP)["text"] == "x/b2 172.30.2.1", attempts=20)
    # The address moves with the endpoint, and the outside hears of it.
    world.service(
        "x/lb",
        ["x/b3"],
        type="LoadBalancer",
        node_port=30090,
        externalTrafficPolicy="Local",
        status=status,
    )
    assert world.until(lambda: world.answer("outside", VIP)["text"] == "x/b3 172.30.2.1", attempts=20)
    world.service("x/lb", [], type="LoadBalancer", node_port=30090, status=status)
    assert all(VIP not in world.shell("ip addr", node) for node in world.nodes)


def test_a_udp_client_with_a_fixed_port_leaves_an_endpoint_that_is_gone(world: World) -> None:
    world.service("x/u", ["x/b1"], port=53, target=80, protocol="UDP")
    address = world.cluster_ip("x/u")
    first = world.answer("x/a", address, 53, kind="udp", source_port=4242)
    assert first["text"].startswith("x/b1")
    world.service("x/u", ["x/b2"], port=53, target=80, protocol="UDP")
    second = world.answer("x/a", address, 53, kind="udp", source_port=4242)
    assert second["text"].startswith("x/b2")


def test_a_udp_client_that_came_before_the_service_finds_it(world: World) -> None:
    """Its datagrams went nowhere, untranslated; the node's first pass that knows the Service knows endpoints too."""
    world.service("x/w", ["x/b1"], port=53, target=80, protocol="UDP")
    address = world.cluster_ip("x/w")
    world.remove_service("x/w")
    assert world.probe("x/a", address, 53, kind="udp", source_port=4243) != "open"
    world.service("x/w", ["x/b1"], port=53, target=80, protocol="UDP")
    assert world.answer("x/a", address, 53, kind="udp", source_port=4243)["text"].startswith("x/b1")


def test_host_ports_lead_to_their_pod_on_its_node_only(world: World) -> None:
    pod = next(obj for obj in world.store.list("pods", "x") if obj["metadata"]["name"] == "b1")
    ports = [
        {"containerPort": target, "hostPort": 20080, "protocol": protocol}
        for protocol, target in (("TCP", 81), ("UDP", 80))
    ]
    spec = {**pod["spec"], "containers": [{"name": "c", "ports": ports}]}
    world.store.put("pods", {**pod, "spec": spec})
    world.settle()
    for source in ("outside", "x/b1", "x/b2", "lab-worker3"):
        assert world.answer(source, "172.30.1.1", 20080)["text"].startswith("x/b1 "), source
    assert world.answer("x/b2", "172.30.1.1", 20080, kind="udp")["text"].startswith("x/b1 ")
    assert world.probe("x/a", "172.30.1.2", 20080) == "refused"


def test_the_health_check_port_tells_where_endpoints_are(world: World) -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999}

    def found() -> list[list[object]]:
        return [world.http("outside", f"172.30.1.{n}", 30999, ("GET", "/healthz")) for n in (1, 2, 3)]

    world.service("x/s", ["x/b1"], **spec)
    assert world.until(lambda: found() == [[200], [503], [503]])
    world.service("x/s", ["x/b2"], **spec)
    assert world.until(lambda: found() == [[503], [200], [503]])
    world.service("x/s", ["x/b2"])
    assert world.until(lambda: world.probe("outside", "172.30.1.2", 30999) == "refused")
