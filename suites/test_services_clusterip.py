# SPDX-License-Identifier: Apache-2.0
"""Cluster IPs: ports, protocols, clients, backends and families."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.answers import TCP, UDP, expect_answers, expect_exactly, probes_to
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.fixtures.topology import family_of
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.probe.questions import host_port

pytestmark = pytest.mark.services

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/"
VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
DUAL = "https://kubernetes.io/docs/concepts/services-networking/dual-stack/"
HAIRPIN = "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/#a-pod-fails-to-reach-itself-via-the-service-ip"
ALL = {"grid": "backend"}
BACKENDS = ("y/a", "y/b", "y/c")


@pytest.mark.smoke
@requirement("SVC-CLUSTERIP", feature="services/clusterip", source=DOCS)
def test_cluster_ip_maps_ports_over_tcp_and_udp(cni_grid: Grid, cni_services: Services) -> None:
    """A cluster IP answers on its port from pods of every node, TCP and UDP."""
    ports = [port(8000, 80), port(8000, 81, "UDP")]
    service = cni_services.create("clusterip", ALL, ports, namespace="y", endpoints=3)
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(
        cni_grid, probes_to(clients, [service.cluster_ip], 8000, (TCP, UDP)), BACKENDS, "cluster IP"
    )


@requirement("SVC-TARGETPORT", feature="services/ports", source=DOCS + "#field-spec-ports")
def test_target_port_differs_from_port(cni_grid: Grid, cni_services: Services) -> None:
    """A Service port that has another number than its target port leads to the target port."""
    service = cni_services.create("targetport", ALL, [port(80, 81)], namespace="y", endpoints=3)
    expect_answers(cni_grid, probes_to(["x/a"], [service.cluster_ip], 80), BACKENDS, "target port", port=81)


@requirement("SVC-MULTIPORT", feature="services/ports", source=DOCS + "#multi-port-services")
def test_every_port_of_a_service_has_its_own_target(cni_grid: Grid, cni_services: Services) -> None:
    """Each port of a multi-port Service leads to its own target port."""
    targets = {8000: 80, 8001: 81, 8002: 82}
    ports = [port(number, target) for number, target in targets.items()]
    service = cni_services.create("multiport", ALL, ports, namespace="y", endpoints=3)
    for number, target in targets.items():
        probes = probes_to(["x/a", "x/b"], [service.cluster_ip], number)
        expect_answers(cni_grid, probes, BACKENDS, f"port {number}", port=target)


@requirement("SVC-PROTOCOLS", feature="services/ports", source="https://github.com/cilium/cilium/issues/9207")
def test_one_port_number_serves_two_protocols(cni_grid: Grid, cni_services: Services) -> None:
    """One port number over TCP and UDP leads to each protocol's own target port."""
    ports = [port(8000, 80), port(8000, 81, "UDP")]
    service = cni_services.create("protocols", ALL, ports, namespace="y", endpoints=3)
    for protocol, target in ((TCP, 80), (UDP, 81)):
        probes = probes_to(["x/a"], [service.cluster_ip], 8000, (protocol,))
        expect_answers(cni_grid, probes, BACKENDS, f"8000/{protocol}", port=target)


@requirement("SVC-NAMEDPORT", feature="services/ports", source=DOCS + "#field-spec-ports")
def test_a_named_target_port_is_each_pods_own(cni_grid: Grid, cni_services: Services) -> None:
    """A named target port leads to the number that each backend gives that name."""
    service = cni_services.create("namedport", ALL, [port(8000, "web")], namespace="y")
    for name, number in (("a", 82), ("c", 8080)):
        alone = cni_services.create(f"named-{name}", {"pod": name}, [port(8000, "web")], namespace="y")
        probes = probes_to(["x/a"], [alone.cluster_ip], 8000)
        expect_answers(cni_grid, probes, {f"y/{name}"}, "named port", port=number)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, BACKENDS, "named port over all backends")
    wanted = {"y/a": 82, "y/b": 82, "y/c": 8080}

    def wrong() -> str | None:
        for seen in cni_grid.probe(*probes_to(["x/a"] * 20, [service.cluster_ip], 8000)):
            asked = seen.extra.get("port")
            if asked != wanted.get(seen.responder):
                return f"{seen}: asked on port {asked}, expected {wanted.get(seen.responder)}"
        return None

    cni_grid.eventually("named port, a number for each backend", wrong)


@requirement("SVC-SOURCE", feature="services/source-address", source=VIPS)
def test_a_backend_sees_the_client_pod(cni_grid: Grid, cni_services: Services) -> None:
    """A backend behind a cluster IP sees the address of the client pod."""
    service = cni_services.create("source", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    clients = [pod for pod in cni_grid.one_per_node() if pod.key != "y/b"]
    probes = probes_to([pod.key for pod in clients], [service.cluster_ip], 8000)
    answers = expect_answers(cni_grid, probes, {"y/b"}, "cluster IP")
    for client, seen in zip(clients, answers, strict=True):
        own = client.addresses[family_of(service.cluster_ip)]
        if seen.peer_ip != own:
            raise ConformanceFailure(f"y/b saw {seen.peer_ip}; the client {client.key} is {own}")


@requirement("SVC-HAIRPIN", feature="services/hairpin", source=HAIRPIN)
def test_a_backend_reaches_all_backends_and_itself(cni_grid: Grid, cni_services: Services) -> None:
    """A pod that is one of several backends of a Service reaches all of them through it, itself included."""
    service = cni_services.create("hairpin-many", ALL, [port(8000, 80)], namespace="y", endpoints=3)
    expect_exactly(cni_grid, "y/a", service.cluster_ip, 8000, BACKENDS, "from a backend to its own Service")


@requirement("SVC-HOSTNET-CLIENT", feature="services/host-network", source=VIPS)
def test_host_network_clients_reach_services(cni_grid: Grid, cni_services: Services) -> None:
    """Pods on the host network of every node reach a cluster IP, TCP and UDP."""
    ports = [port(8000, 80), port(8000, 80, "UDP")]
    service = cni_services.create("hostnet-client", ALL, ports, namespace="y", endpoints=3)
    clients = [agent.key for agent in cni_grid.node_agents().values()]
    probes = probes_to(clients, [service.cluster_ip], 8000, (TCP, UDP))
    expect_answers(cni_grid, probes, BACKENDS, "from the host network")


@requirement("SVC-HOSTNET-BACKEND", feature="services/host-network", source=DOCS)
def test_a_host_network_pod_is_a_backend(cni_grid: Grid, cni_services: Services) -> None:
    """A pod on the host network serves as the backend of a Service, for pods on every node."""
    backend = next(iter(cni_grid.node_agents().values()))
    number = host_port(cni_grid.agent(backend.key))
    service = cni_services.create(
        "hostnet-backend", {"pod": backend.name}, [port(8000, number)], namespace="host", endpoints=1
    )
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(
        cni_grid, probes_to(clients, [service.cluster_ip], 8000), {backend.key}, "backend on the host network"
    )


@requirement("SVC-FAMILIES", feature="services/families", source=DUAL)
def test_a_service_answers_in_every_family(cni_grid: Grid, cni_services: Services) -> None:
    """A PreferDualStack Service has an address of every family of the cluster, and answers at each."""
    service = cni_services.create(
        "families", ALL, [port(8000, 80)], namespace="y", endpoints=3, ipFamilyPolicy="PreferDualStack"
    )
    found = [family_of(address) for address in service.cluster_ips]
    if sorted(found) != sorted(cni_grid.facts.families):
        raise ConformanceFailure(
            f"cluster IPs {service.cluster_ips}, but the cluster has {cni_grid.facts.families}"
        )
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(
        cni_grid, probes_to(clients, service.cluster_ips, 8000), BACKENDS, "every family of the Service"
    )


@requirement("SVC-SINGLESTACK", feature="services/families", source=DUAL)
def test_a_single_stack_service_answers_in_its_family(cni_grid: Grid, cni_services: Services) -> None:
    """A SingleStack Service has one address, of the family that it asks for, and answers there."""
    for family in cni_grid.facts.families:
        service = cni_services.create(
            f"single-{family}",
            ALL,
            [port(8000, 80)],
            namespace="y",
            endpoints=3,
            ipFamilyPolicy="SingleStack",
            ipFamilies=[family.replace("ip", "IP")],
        )
        if [family_of(address) for address in service.cluster_ips] != [family]:
            raise ConformanceFailure(f"SingleStack {family}: cluster IPs {service.cluster_ips}")
        clients = [pod.key for pod in cni_grid.one_per_node()]
        expect_answers(cni_grid, probes_to(clients, service.cluster_ips, 8000), BACKENDS, family)


@requirement("SVC-EXTERNALNAME", level=SHOULD, feature="services/externalname", source=DOCS + "#externalname")
def test_an_external_name_leads_to_its_target(cni_grid: Grid, cni_services: Services) -> None:
    """A connection to the name of an ExternalName Service reaches what that name stands for."""
    target = cni_services.create("target", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    alias = cni_services.create(
        "alias", None, [], namespace="x", type="ExternalName", externalName=target.fqdn
    )
    expect_answers(cni_grid, probes_to(["x/a"], [alias.fqdn], 8000), {"y/b"}, "ExternalName")


@requirement("SVC-HEADLESS", feature="services/headless", source=DOCS + "#headless-services")
def test_a_headless_service_leads_to_its_pods(cni_grid: Grid, cni_services: Services) -> None:
    """The name of a headless Service leads to its pods themselves, on their own ports."""
    service = cni_services.create("headless", ALL, [port(81)], namespace="y", endpoints=3, clusterIP="None")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [service.fqdn], 81), BACKENDS, "headless Service")
