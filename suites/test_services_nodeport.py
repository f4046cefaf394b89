# SPDX-License-Identifier: Apache-2.0
"""Ports of nodes: NodePort, hostPort, externalIPs, from inside and from outside; changes of type."""

from __future__ import annotations

import random

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.answers import TCP, UDP, expect_answers, expect_denied, probes_to
from pytest_cniconformance.fixtures.backends import Backends
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, node_addresses, port
from pytest_cniconformance.fixtures.topology import family_of
from pytest_cniconformance.fixtures.vantage import Vantage, addresses_from, seen_from
from pytest_cniconformance.kube.errors import Forbidden
from pytest_cniconformance.model.failure import NotSupported
from pytest_cniconformance.model.verdict import Protocol, Verdict

pytestmark = pytest.mark.services

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/"
NODEPORT = DOCS + "#type-nodeport"
EXTERNAL_IPS = DOCS + "#external-ips"
HOSTPORT = "https://kubernetes.io/docs/reference/kubernetes-api/core/pod-v1/#ContainerPort"
NODE_PORT = "https://kubernetes.io/docs/reference/kubernetes-api/core/service-v1/#ServicePort"
CONFORMANCE = (
    "https://github.com/kubernetes/kubernetes/blob/master/test/conformance/testdata/conformance.yaml"
)
HOST_PORTS = range(21000, 29000)
NOWHERE = {"ipv4": "192.0.2.77", "ipv6": "2001:db8::77"}
"""Addresses for documentation (RFC 5737, RFC 3849): on no node and in no network."""


def _node_port(services: Services, name: str, protocol: str = "TCP", target: int = 80) -> LiveService:
    """Create a NodePort Service over y/b."""
    ports = [port(8000, target, protocol)]
    return services.create(name, {"pod": "b"}, ports, namespace="y", endpoints=1, type="NodePort")


@pytest.mark.smoke
@requirement("SVC-NODEPORT", feature="services/nodeport", source=NODEPORT)
def test_a_node_port_answers_on_every_node(cni_grid: Grid, cni_services: Services) -> None:
    """A node port answers pods of every node on the address of every node, with or without a backend there."""
    service = _node_port(cni_services, "nodeport")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    probes = probes_to(clients, node_addresses(cni_grid, service), service.node_port(8000))
    expect_answers(cni_grid, probes, {"y/b"}, "node port")


@requirement("SVC-NODEPORT-UDP", feature="services/nodeport", source=NODEPORT)
def test_a_udp_node_port_answers_on_every_node(cni_grid: Grid, cni_services: Services) -> None:
    """A UDP node port answers on the address of every node."""
    service = _node_port(cni_services, "nodeport-udp", "UDP")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    probes = probes_to(clients, node_addresses(cni_grid, service), service.node_port(8000), (UDP,))
    expect_answers(cni_grid, probes, {"y/b"}, "UDP node port")


@requirement("SVC-NODEPORT-OUTSIDE", feature="services/nodeport", source=NODEPORT)
def test_a_node_port_answers_from_outside(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """A node port answers clients outside the cluster on every node, with or without a backend there."""
    service = _node_port(cni_services, "nodeport-outside")
    addresses = addresses_from(cni_grid, cni_external, service)
    with seen_from(cni_grid, cni_external):
        probes = probes_to([cni_external.key], addresses, service.node_port(8000))
        expect_answers(cni_grid, probes, {"y/b"}, f"node port from {cni_external.description}")


@requirement("SVC-NODEPORT-HTTP", feature="services/nodeport", source=NODEPORT)
def test_a_node_port_carries_http_from_outside(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """An HTTP request from outside the cluster to a node port is answered by the backend."""
    service = _node_port(cni_services, "nodeport-http", target=8080)
    number = service.node_port(8000)
    addresses = addresses_from(cni_grid, cni_external, service)

    def wrong() -> str | None:
        for address in addresses:
            seen = cni_external.http(cni_grid, address, number)
            if seen.verdict is not Verdict.OPEN or cni_grid.key_of(seen.responder) != "y/b":
                return f"http://{address}:{number} from {cni_external.description}: {seen}"
        return None

    with seen_from(cni_grid, cni_external):
        cni_grid.eventually("HTTP to a node port", wrong)


@requirement("SVC-HOSTPORT", feature="services/hostport", source=HOSTPORT)
def test_a_host_port_leads_to_its_pod(cni_grid: Grid, cni_backends: Backends) -> None:
    """A host port of a pod answers on the address of its node, for pods of other nodes and of its own."""
    _host_port(cni_grid, cni_backends, "hostport", TCP)


@requirement(
    "SVC-HOSTPORT-UDP", feature="services/hostport", source="https://github.com/cilium/cilium/issues/41426"
)
def test_one_host_port_serves_two_protocols(cni_grid: Grid, cni_backends: Backends) -> None:
    """One host port over TCP and UDP leads to the pod over both."""
    _host_port(cni_grid, cni_backends, "hostport-both", TCP, UDP)


def _host_port(grid: Grid, backends: Backends, name: str, *protocols: Protocol) -> None:
    node = grid.pod("y/b").node
    number = random.choice(HOST_PORTS)  # other runs of this suite may use the same node
    wanted = {(80, str(protocol)): number for protocol in protocols}
    pod = backends.add(f"host/{name}", {}, node=node, host_ports=wanted)
    addresses = [ip for fact in grid.facts.nodes if fact.name == node for ip in fact.internal_ips]
    clients = [client.key for client in grid.one_per_node()]
    probes = probes_to(clients, addresses, number, protocols)
    expect_answers(grid, probes, {pod.identity}, f"host port {number} of {node}", port=80)


@requirement("SVC-EXTERNALIP", level=SHOULD, feature="services/externalips", source=EXTERNAL_IPS)
def test_an_external_ip_answers_where_it_is_routed(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """An external IP that leads to a node answers there, from pods and from outside."""
    service, number = cni_services.create("eip", {"pod": "b"}, [port(8000, 80)], namespace="y"), 18080
    addresses = node_addresses(cni_grid, service)[:1]
    service = _with_external_ips(cni_services, "eip", number, addresses)
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, addresses, number), {"y/b"}, "external IP of a node")
    with seen_from(cni_grid, cni_external):
        probes = probes_to([cni_external.key], addresses, number)
        expect_answers(cni_grid, probes, {"y/b"}, f"external IP from {cni_external.description}")


@requirement(
    "SVC-EXTERNALIP-INSIDE",
    level=SHOULD,
    feature="services/externalips",
    source="https://github.com/cilium/cilium/issues/15361",
)
def test_an_external_ip_of_no_node_answers_inside(cni_grid: Grid, cni_services: Services) -> None:
    """An external IP that is no node's answers pods of every node."""
    address = NOWHERE[cni_grid.facts.families[0]]
    _with_external_ips(cni_services, "eip-nowhere", 8000, [address])
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [address], 8000), {"y/b"}, "external IP of no node")


def _with_external_ips(services: Services, name: str, number: int, addresses: list[str]) -> LiveService:
    try:
        return services.create(
            name, {"pod": "b"}, [port(number, 80)], namespace="y", endpoints=1, externalIPs=addresses
        )
    except Forbidden as refusal:
        raise NotSupported(f"admission forbids external IPs: {refusal}") from None


@requirement("SVC-TYPE-NODEPORT", feature="services/life-cycle", source=NODE_PORT)
def test_a_cluster_ip_service_becomes_a_node_port(cni_grid: Grid, cni_services: Services) -> None:
    """A ClusterIP Service that becomes NodePort answers on its node port too."""
    ports = [port(8000, 80)]
    before = cni_services.create("to-nodeport", {"pod": "b"}, ports, namespace="y", endpoints=1)
    inside = probes_to(["x/a"], [before.cluster_ip], 8000)
    expect_answers(cni_grid, inside, {"y/b"}, "cluster IP before")
    service = _node_port(cni_services, "to-nodeport")
    probes = probes_to(["x/a", "x/b"], node_addresses(cni_grid, service), service.node_port(8000))
    expect_answers(cni_grid, inside + probes, {"y/b"}, "cluster IP and node port after")


@requirement("SVC-TYPE-CLUSTERIP", feature="services/life-cycle", source=NODE_PORT)
def test_a_node_port_service_becomes_a_cluster_ip(cni_grid: Grid, cni_services: Services) -> None:
    """A NodePort Service that becomes ClusterIP answers on its node port no more, and at its cluster IP still."""
    before = _node_port(cni_services, "to-clusterip")
    probes = probes_to(["x/a", "x/b"], node_addresses(cni_grid, before), before.node_port(8000))
    expect_answers(cni_grid, probes, {"y/b"}, "node port before")
    after = cni_services.create(
        "to-clusterip", {"pod": "b"}, [port(8000, 80)], namespace="y", type="ClusterIP"
    )
    expect_denied(cni_grid, probes, "node port after")
    expect_answers(cni_grid, probes_to(["x/a"], [after.cluster_ip], 8000), {"y/b"}, "cluster IP after")


@requirement("SVC-TYPE-EXTERNALNAME", feature="services/life-cycle", source=CONFORMANCE)
def test_an_external_name_becomes_a_cluster_ip(cni_grid: Grid, cni_services: Services) -> None:
    """An ExternalName Service that becomes ClusterIP answers at the address that it gets."""
    cni_services.create(
        "from-name", None, [], namespace="y", type="ExternalName", externalName="example.invalid"
    )
    cni_services.barrier("y")
    service = cni_services.create(
        "from-name", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1, type="ClusterIP"
    )
    expect_answers(cni_grid, probes_to(["x/a"], [service.cluster_ip], 8000), {"y/b"}, "cluster IP")
    assert family_of(service.cluster_ip) in cni_grid.facts.families


@requirement("SVC-PORT-CHANGE", feature="services/life-cycle", source=DOCS)
def test_a_service_follows_the_change_of_its_port(cni_grid: Grid, cni_services: Services) -> None:
    """When the port of a Service changes, the new one answers and the old one does not."""
    for number, old in ((8000, 8001), (8001, 8000)):
        ports = [port(number, 80, name="web")]
        service = cni_services.create("port-change", {"pod": "b"}, ports, namespace="y", endpoints=1)
        expect_answers(cni_grid, probes_to(["x/a"], [service.cluster_ip], number), {"y/b"}, f"port {number}")
        expect_denied(cni_grid, probes_to(["x/a"], [service.cluster_ip], old), f"port {old}")
