# SPDX-License-Identifier: Apache-2.0
"""Services: every address reaches the right backends, all of them, with affinity where it is asked for."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.fixtures.topology import family_of
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.probe.questions import connect_many

pytestmark = pytest.mark.services

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/"
VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
BACKENDS = {"y/a", "y/b", "y/c"}
CONNECTIONS = 60
"""With 3 backends, one of them is missed by chance with probability 3·(2/3)^60 ≈ 8·10⁻¹¹."""


@requirement("SVC-CLUSTERIP", feature="services/clusterip", source=DOCS)
def test_cluster_ip_maps_ports_over_tcp_and_udp(cni_grid: Grid, cni_services: Services) -> None:
    """A cluster IP maps its port to the target port, TCP and UDP on one number, from every node."""
    ports = [port(8000, 80), port(8000, 81, "UDP")]
    service = cni_services.create("clusterip", {"ns-backend": "y"}, ports, namespace="y")
    _with_backends(cni_grid, cni_services, service)
    probes = [
        Probe(pod.key, service.cluster_ip, 8000, protocol)
        for pod in cni_grid.one_per_node()
        for protocol in (Protocol.TCP, Protocol.UDP)
    ]
    _open_by(cni_grid, probes, "cluster IP", BACKENDS)


@requirement("SVC-SPREAD", feature="services/endpoints", source=VIPS)
def test_every_backend_gets_connections_and_none_fails(cni_grid: Grid, cni_services: Services) -> None:
    """Sixty connections reach every ready backend, only those, and none fails."""
    service = cni_services.create("spread", {"ns-backend": "y"}, [port(8000, 80)], namespace="y")
    _with_backends(cni_grid, cni_services, service)

    def wrong() -> str | None:
        counts, failed = _responders(cni_grid, service)
        if failed:
            return f"{sum(failed.values())} of {CONNECTIONS} connections failed: {failed}"
        return (
            None
            if set(counts) == BACKENDS
            else f"backends that answered: {counts}, expected {sorted(BACKENDS)}"
        )

    cni_grid.eventually("spread over the backends", wrong, deadline=10.0)


@requirement("SVC-AFFINITY", feature="services/affinity", source=VIPS + "#session-affinity")
def test_client_ip_affinity_sticks_to_one_backend(cni_grid: Grid, cni_services: Services) -> None:
    """With sessionAffinity ClientIP all connections of a client reach the same backend."""
    service = cni_services.create(
        "affinity", {"ns-backend": "y"}, [port(8000, 80)], namespace="y", sessionAffinity="ClientIP"
    )
    _with_backends(cni_grid, cni_services, service)
    _open_by(cni_grid, [Probe("x/a", service.cluster_ip, 8000)], "affinity", BACKENDS)
    counts, failed = _responders(cni_grid, service)
    if failed:
        raise ConformanceFailure(f"{sum(failed.values())} of {CONNECTIONS} connections failed: {failed}")
    if len(counts) != 1:
        raise ConformanceFailure(
            f"one client reached {len(counts)} backends in {CONNECTIONS} connections: {counts}"
        )


@requirement("SVC-NODEPORT", feature="services/nodeport", source=DOCS + "#type-nodeport")
def test_a_node_port_answers_on_every_node(cni_grid: Grid, cni_services: Services) -> None:
    """A node port answers on the address of every node, with or without a backend there."""
    service = cni_services.create(
        "nodeport", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1, type="NodePort"
    )
    number = service.node_port(8000)
    families = {family.lower() for family in service.obj["spec"].get("ipFamilies") or cni_grid.facts.families}
    addresses = [
        ip
        for node in cni_grid.facts.nodes
        if node.ready
        for ip in node.internal_ips
        if family_of(ip) in families
    ]
    probes = [Probe(pod.key, address, number) for pod in cni_grid.one_per_node() for address in addresses]
    _open_by(cni_grid, probes, "node port", {"y/b"})


@requirement("SVC-NOEP", level=SHOULD, feature="services/endpoints", source=VIPS)
def test_a_service_without_endpoints_refuses(cni_grid: Grid, cni_services: Services) -> None:
    """A Service without endpoints refuses connections at once instead of leaving them to time out."""
    service = cni_services.create("noendpoints", {"pod": "nobody"}, [port(8000, 80)], namespace="y")

    def wrong() -> str | None:
        seen = cni_grid.probe(Probe("x/a", service.cluster_ip, 8000))[0]
        return (
            None
            if seen.verdict in (Verdict.REFUSED, Verdict.UNREACHABLE)
            else f"observed {seen}, expected refused"
        )

    cni_grid.eventually("no endpoints", wrong, deadline=10.0)


def _with_backends(grid: Grid, services: Services, service: LiveService) -> None:
    """Make the pods of y the backends of a Service for this check, and wait for its endpoints."""
    for key in sorted(BACKENDS):
        grid.relabel_for_check(key, {"ns-backend": "y"})
    services.wait_endpoints(service.name, "y", len(BACKENDS))


def _responders(grid: Grid, service: LiveService) -> tuple[dict[str, int], dict[str, int]]:
    """Open the connections; return how often each backend answered and how often each failure occurred."""
    result = connect_many(grid.agent("x/a"), service.cluster_ip, 8000, CONNECTIONS)
    return {grid.key_of(name): n for name, n in result.responders.items()}, result.failed


def _open_by(grid: Grid, probes: list[Probe], what: str, responders: set[str]) -> None:
    def wrong() -> str | None:
        for probe, seen in zip(probes, grid.probe(*probes), strict=True):
            where = f"{probe.source} → {probe.host}:{probe.port}/{probe.protocol}"
            if seen.verdict is not Verdict.OPEN:
                return f"{where}: {seen}"
            if seen.responder not in responders:
                return f"{where}: answered by {seen.responder or 'nobody'}"
        return None

    grid.eventually(what, wrong)
