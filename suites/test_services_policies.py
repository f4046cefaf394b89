# SPDX-License-Identifier: Apache-2.0
"""Traffic policies: who may answer whom, with whose address, and what load balancers are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.answers import (
    expect_answers,
    expect_denied,
    expect_exactly,
    many,
    probes_to,
)
from pytest_cniconformance.fixtures.backends import Backends
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, node_addresses, port
from pytest_cniconformance.fixtures.vantage import Vantage, addresses_from, client_address_wrong, seen_from
from pytest_cniconformance.kube.errors import BadRequest, Invalid
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive, NotSupported
from pytest_cniconformance.model.verdict import Probe

pytestmark = pytest.mark.services

VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
EXTERNAL = VIPS + "#external-traffic-policy"
INTERNAL = "https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/"
SOURCE = "https://kubernetes.io/docs/tutorials/services/source-ip/#source-ip-for-services-with-type-nodeport"
TERMINATING = (
    "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1669-proxy-terminating-endpoints"
)
DISTRIBUTION = "https://kubernetes.io/docs/concepts/services-networking/service/#traffic-distribution"
ALL = {"grid": "backend"}
BACKENDS = ("y/a", "y/b", "y/c")


def _local(services: Services, name: str, selector: dict[str, str] | None = None) -> LiveService:
    """Create a NodePort Service with externalTrafficPolicy Local, over y/b unless told otherwise."""
    return services.create(
        name,
        selector or {"pod": "b"},
        [port(8000, 80)],
        namespace="y",
        endpoints=1,
        type="NodePort",
        externalTrafficPolicy="Local",
    )


@requirement("SVC-ETP-LOCAL-SOURCE", feature="services/external-traffic-policy", source=SOURCE)
def test_local_keeps_the_clients_address(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local a backend sees the address of a client outside the cluster."""
    service = _local(cni_services, "local-source")
    here = addresses_from(cni_grid, cni_external, service, cni_grid.pod("y/b").node)
    probes = probes_to([cni_external.key], here, service.node_port(8000))
    with seen_from(cni_grid, cni_external):
        expect_answers(cni_grid, probes, {"y/b"}, "node port of the backend's node")

        def wrong() -> str | None:
            for seen in cni_grid.probe(*probes):
                if error := client_address_wrong(cni_grid, cni_external, seen.peer_ip):
                    return error
            return None

        cni_grid.eventually("client address", wrong)


@requirement("SVC-ETP-LOCAL-NODE", feature="services/external-traffic-policy", source=EXTERNAL)
def test_local_answers_on_nodes_with_a_backend_only(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local a node without a backend does not answer clients from outside."""
    if not cni_external.outside:
        raise Inconclusive(f"the vantage is {cni_external.description}: the policy is for clients outside")
    service = _local(cni_services, "local-node")
    home, number = cni_grid.pod("y/b").node, service.node_port(8000)
    here = addresses_from(cni_grid, cni_external, service, home)
    others = [ip for ip in addresses_from(cni_grid, cni_external, service) if ip not in here]
    if not others:
        raise Inconclusive("the cluster has one node: every node has a backend")
    with seen_from(cni_grid, cni_external):
        expect_answers(cni_grid, probes_to([cni_external.key], here, number), {"y/b"}, f"node port of {home}")
    cni_services.barrier("y")
    expect_denied(cni_grid, probes_to([cni_external.key], others, number), "node ports of the other nodes")


@requirement("SVC-ETP-CLUSTERIP", feature="services/external-traffic-policy", source=EXTERNAL)
def test_local_does_not_restrict_the_cluster_ip(cni_grid: Grid, cni_services: Services) -> None:
    """With externalTrafficPolicy Local pods of every node still reach the backend by the cluster IP."""
    service = _local(cni_services, "local-inside")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [service.cluster_ip], 8000), {"y/b"}, "cluster IP")


@requirement("SVC-ETP-LOCAL-TERMINATING", feature="services/terminating", source=TERMINATING)
def test_local_falls_back_to_terminating_backends(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local a node whose only backend is being deleted still answers (KEP-1669)."""
    pod = cni_backends.add("y/local", {"team": "local"}, node=cni_grid.pod("y/b").node, lingers=True)
    service = _local(cni_services, "local-terminating", {"team": "local"})
    probes = probes_to(
        [cni_external.key], addresses_from(cni_grid, cni_external, service, pod.node), service.node_port(8000)
    )
    with seen_from(cni_grid, cni_external):
        expect_answers(cni_grid, probes, {pod.identity}, "before the deletion")
        cni_backends.delete("y/local")
        cni_services.wait_terminating(service.name, "y")
        expect_answers(cni_grid, probes, {pod.identity}, "while the backend terminates")


@requirement("SVC-ITP-LOCAL", feature="services/internal-traffic-policy", source=INTERNAL)
def test_internal_local_stays_on_the_node(cni_grid: Grid, cni_services: Services) -> None:
    """With internalTrafficPolicy Local a client is answered by backends of its own node only."""
    service = cni_services.create(
        "internal", ALL, [port(8000, 80)], namespace="y", endpoints=3, internalTrafficPolicy="Local"
    )
    judged = 0
    for client in cni_grid.one_per_node():
        if here := {key for key in BACKENDS if cni_grid.pod(key).node == client.node}:
            judged += len(here) < len(BACKENDS)
            expect_exactly(cni_grid, client.key, service.cluster_ip, 8000, here, f"from {client.node}")
    if not judged:
        raise Inconclusive("all backends are on one node: nothing tells local from remote ones")


@requirement("SVC-ITP-NONE", feature="services/internal-traffic-policy", source=INTERNAL)
def test_internal_local_without_a_backend_does_not_answer(cni_grid: Grid, cni_services: Services) -> None:
    """With internalTrafficPolicy Local a node without a backend behaves as if the Service had none."""
    service = cni_services.create(
        "internal-none",
        {"pod": "b"},
        [port(8000, 80)],
        namespace="y",
        endpoints=1,
        internalTrafficPolicy="Local",
    )
    home = cni_grid.pod("y/b").node
    near = next(pod.key for pod in cni_grid.one_per_node() if pod.node == home)
    far = [pod.key for pod in cni_grid.one_per_node() if pod.node != home]
    if not far:
        raise Inconclusive("the cluster has one node: every node has a backend")
    expect_answers(cni_grid, probes_to([near], [service.cluster_ip], 8000), {"y/b"}, f"from {home}")
    cni_services.barrier("y")
    expect_denied(cni_grid, probes_to(far, [service.cluster_ip], 8000), "from the other nodes")


@requirement("SVC-HEALTHCHECK", feature="services/health-check-node-port", source=EXTERNAL)
def test_the_health_check_tells_nodes_with_backends(cni_grid: Grid, cni_services: Services) -> None:
    """The healthCheckNodePort answers 200 on nodes with a ready local backend and 503 on the others."""
    service = cni_services.create(
        "health",
        {"pod": "b"},
        [port(8000, 80)],
        namespace="y",
        endpoints=1,
        type="LoadBalancer",
        externalTrafficPolicy="Local",
    )
    number = service.obj["spec"].get("healthCheckNodePort")
    if not number:
        raise ConformanceFailure("the API server allocated no healthCheckNodePort")
    home = cni_grid.pod("y/b").node

    def wrong() -> str | None:
        for node, agent in cni_grid.node_agents().items():
            wanted = 200 if node == home else 503
            for address in node_addresses(cni_grid, service, node):
                seen = cni_grid.probe(Probe(agent.key, address, number, http={"path": "/healthz"}))[0]
                if seen.http_status != wanted:
                    return f"http://{address}:{number}/healthz on {node}: {seen}, expected HTTP {wanted}"
        return None

    cni_grid.eventually("health check of the load balancer", wrong)


@requirement("SVC-DISTRIBUTION", feature="services/traffic-distribution", source=DISTRIBUTION)
def test_traffic_distribution(
    cni_grid: Grid, cni_services: Services, cni_trait: Callable[[str, str, str], None]
) -> None:
    """With trafficDistribution PreferClose every node is answered; whether it is followed is a trait."""
    try:
        service = cni_services.create(
            "distribution",
            ALL,
            [port(8000, 80)],
            namespace="y",
            endpoints=3,
            trafficDistribution="PreferClose",
        )
    except (BadRequest, Invalid) as refusal:
        raise NotSupported(f"this API server does not take trafficDistribution: {refusal}") from None
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [service.cluster_ip], 8000), BACKENDS, "every node")
    zones = {node.name: node.zone for node in cni_grid.facts.nodes}
    backends = {key: zones.get(cni_grid.pod(key).node, "") for key in BACKENDS}
    if len(set(backends.values())) < 2:
        cni_trait(
            "traffic-distribution", "not measurable", "all backends are in one zone, or nodes have none"
        )
        return
    near = {key for key, zone in backends.items() if zone == backends["y/a"]}
    client = next(pod for pod in cni_grid.one_per_node() if zones[pod.node] == backends["y/a"])
    result = many(cni_grid, client.key, service.cluster_ip, 8000)
    if result.failed:
        raise ConformanceFailure(f"connections failed: {result.failed}")
    followed = set(result.responders) <= near
    cni_trait("traffic-distribution", "followed" if followed else "ignored", f"answers: {result.responders}")
