# SPDX-License-Identifier: Apache-2.0
"""Endpoints: who is a backend, when, and with which share of the connections."""

from __future__ import annotations

import math

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.answers import (
    TCP,
    UDP,
    expect_answers,
    expect_denied,
    expect_exactly,
    many,
    probes_to,
)
from pytest_cniconformance.fixtures.backends import Backends
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.fixtures.topology import family_of
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.model.verdict import Verdict

pytestmark = pytest.mark.services

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/"
VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
REJECT = "https://github.com/kubernetes/kubernetes/pull/72534"
SLICES = "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/"
GATES = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-readiness-gate"
TERMINATING = (
    "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1669-proxy-terminating-endpoints"
)
PUBLISH = "https://kubernetes.io/docs/reference/kubernetes-api/core/service-v1/#ServiceSpec"
ALL = {"grid": "backend"}
BACKENDS = ("y/a", "y/b", "y/c")
FAIR_CONNECTIONS = 300
FALSE_ALARMS = 1e-6
"""How often a fair choice among three backends fails the chi-square test."""
REFUSALS = (Verdict.REFUSED, Verdict.UNREACHABLE)


@pytest.mark.smoke
@requirement("SVC-SPREAD", feature="services/endpoints", source=VIPS)
def test_every_backend_gets_connections_and_none_fails(cni_grid: Grid, cni_services: Services) -> None:
    """Sixty connections reach every ready backend, only those, and none fails."""
    service = cni_services.create("spread", ALL, [port(8000, 80)], namespace="y", endpoints=3)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, BACKENDS, "spread over the backends")


@requirement("SVC-FAIR", level=SHOULD, feature="services/endpoints", source=VIPS)
def test_backends_get_equal_shares(cni_grid: Grid, cni_services: Services) -> None:
    """Backends get equal shares of the connections (chi-square, one false alarm in a million)."""
    service = cni_services.create("fair", ALL, [port(8000, 80)], namespace="y", endpoints=3)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, BACKENDS, "spread over the backends")
    result = many(cni_grid, "x/a", service.cluster_ip, 8000, FAIR_CONNECTIONS)
    if result.failed:
        raise ConformanceFailure(
            f"of {FAIR_CONNECTIONS} connections some failed: {result.failed} {result.causes}"
        )
    share = FAIR_CONNECTIONS / len(BACKENDS)
    statistic = sum((result.responders.get(key, 0) - share) ** 2 / share for key in BACKENDS)
    # Three counts leave two degrees of freedom, for which the tail of chi-square is exp(-x/2).
    if statistic > -2 * math.log(FALSE_ALARMS):
        raise ConformanceFailure(
            f"{FAIR_CONNECTIONS} connections were shared {result.responders}: chi-square {statistic:.1f}, "
            f"by chance once in {math.exp(statistic / 2):.0e} runs"
        )


@pytest.mark.smoke
@requirement("SVC-NOEP", level=SHOULD, feature="services/endpoints", source=REJECT)
def test_a_service_without_endpoints_refuses(cni_grid: Grid, cni_services: Services) -> None:
    """A Service without endpoints refuses connections at once instead of leaving them to time out."""
    service = cni_services.create("noendpoints", {"pod": "nobody"}, [port(8000, 80)], namespace="y")
    cni_services.barrier("y")
    expect_denied(cni_grid, probes_to(["x/a"], [service.cluster_ip], 8000), "no endpoints", REFUSALS)


@requirement("SVC-NOEP-UDP", level=SHOULD, feature="services/endpoints", source=REJECT)
def test_a_udp_service_without_endpoints_refuses(cni_grid: Grid, cni_services: Services) -> None:
    """A UDP Service without endpoints answers datagrams with an ICMP error instead of silence."""
    service = cni_services.create(
        "noendpoints-udp", {"pod": "nobody"}, [port(8000, 80, "UDP")], namespace="y"
    )
    probes = probes_to(["x/a"], [service.cluster_ip], 8000, (UDP,))
    cni_services.barrier("y")
    expect_denied(cni_grid, probes, "no endpoints", REFUSALS)


@requirement("SVC-EP-ADDED", feature="services/endpoints", source=SLICES)
def test_an_added_endpoint_gets_connections(cni_grid: Grid, cni_services: Services) -> None:
    """A pod that begins to match the selector becomes a backend."""
    cni_grid.relabel_for_check("y/a", {"team": "one"})
    service = cni_services.create("added", {"team": "one"}, [port(8000, 80)], namespace="y", endpoints=1)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a"}, "one backend")
    cni_grid.relabel_for_check("y/b", {"team": "one"})
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", "y/b"}, "a backend was added")


@pytest.mark.smoke
@requirement("SVC-EP-REMOVED", feature="services/endpoints", source=SLICES)
def test_a_removed_endpoint_gets_no_connection(cni_grid: Grid, cni_services: Services) -> None:
    """A pod that no longer matches the selector gets no new connection, though it still serves."""
    for key in ("y/a", "y/b"):
        cni_grid.relabel_for_check(key, {"team": "two"})
    service = cni_services.create("removed", {"team": "two"}, [port(8000, 80)], namespace="y", endpoints=2)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", "y/b"}, "two backends")
    cni_grid.relabel("y/b", {"team": None})
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a"}, "a backend was removed")


@requirement("SVC-EP-SELECTOR", feature="services/endpoints", source=DOCS)
def test_a_new_selector_chooses_new_backends(cni_grid: Grid, cni_services: Services) -> None:
    """When the selector of a Service changes, its backends do."""
    for selector, key in (({"pod": "a"}, "y/a"), ({"pod": "b"}, "y/b")):
        service = cni_services.create("selector", selector, [port(8000, 80)], namespace="y", endpoints=1)
        expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {key}, f"selector {selector}")


@requirement("SVC-READY", feature="services/readiness", source=GATES)
def test_a_pod_that_is_not_ready_gets_no_connection(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """A pod gets no connection before it is ready, and gets some once its readiness gate is open."""
    gated = cni_backends.add("y/gated", {"team": "gate"}, gated=True).identity
    cni_grid.relabel_for_check("y/a", {"team": "gate"})
    service = cni_services.create("ready", {"team": "gate"}, [port(8000, 80)], namespace="y", endpoints=1)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a"}, "one pod is not ready")
    cni_backends.set_ready("y/gated", True)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", gated}, "both pods are ready")


@requirement("SVC-READY-LOST", feature="services/readiness", source=GATES)
def test_a_pod_that_loses_readiness_gets_no_connection(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """A pod that is ready no more gets no new connection."""
    gated = cni_backends.add("y/lost", {"team": "lost"}, gated=True).identity
    cni_backends.set_ready("y/lost", True)
    cni_grid.relabel_for_check("y/a", {"team": "lost"})
    service = cni_services.create("lost", {"team": "lost"}, [port(8000, 80)], namespace="y", endpoints=2)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", gated}, "both pods are ready")
    cni_backends.set_ready("y/lost", False)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a"}, "one pod is ready no more")


@requirement("SVC-PUBLISH", feature="services/readiness", source=PUBLISH)
def test_unready_addresses_are_published_on_request(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """With publishNotReadyAddresses a pod gets connections before it is ready."""
    gated = cni_backends.add("y/early", {"team": "early"}, gated=True).identity
    service = cni_services.create(
        "publish", {"team": "early"}, [port(8000, 80)], namespace="y", publishNotReadyAddresses=True
    )
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {gated}, "publishNotReadyAddresses")


@requirement("SVC-TERMINATING", feature="services/terminating", source=TERMINATING)
def test_a_terminating_pod_gets_no_new_connection(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """A pod that is being deleted gets no new connection while another backend is ready."""
    leaving = cni_backends.add("y/leaving", {"team": "leave"}, lingers=True).identity
    cni_grid.relabel_for_check("y/a", {"team": "leave"})
    service = cni_services.create("leaving", {"team": "leave"}, [port(8000, 80)], namespace="y", endpoints=2)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", leaving}, "two backends")
    cni_backends.delete("y/leaving")
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a"}, "one backend terminates")


@requirement("SVC-TERMINATING-FALLBACK", feature="services/terminating", source=TERMINATING)
def test_terminating_pods_serve_when_no_other_is_left(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """When all backends are being deleted, those that still serve get the connections (KEP-1669)."""
    last = cni_backends.add("y/last", {"team": "last"}, lingers=True).identity
    service = cni_services.create("last", {"team": "last"}, [port(8000, 80)], namespace="y", endpoints=1)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {last}, "the last backend")
    cni_backends.delete("y/last")
    cni_services.wait_terminating("last", "y")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [service.cluster_ip], 8000), {last}, "it terminates")


@requirement("SVC-SELECTORLESS", feature="services/selectorless", source=DOCS + "#services-without-selectors")
def test_slices_written_by_hand_are_used(cni_grid: Grid, cni_services: Services) -> None:
    """A Service without a selector leads to the endpoints of an EndpointSlice that was written for it."""
    ports = [port(8000, 80)]
    service = cni_services.create("byhand", None, ports, namespace="y")
    address = cni_grid.pod("z/a").addresses[family_of(service.cluster_ip)]
    cni_services.add_slice("byhand", "1", [address], ports, "y")
    clients = [pod.key for pod in cni_grid.one_per_node()]
    expect_answers(cni_grid, probes_to(clients, [service.cluster_ip], 8000), {"z/a"}, "slice by hand")


@requirement("SVC-SLICES", feature="services/endpoints", source=SLICES)
def test_all_slices_of_a_service_are_used(cni_grid: Grid, cni_services: Services) -> None:
    """The endpoints of a Service are those of all its EndpointSlices together."""
    ports = [port(8000, 80)]
    service = cni_services.create("slices", None, ports, namespace="y")
    family = family_of(service.cluster_ip)
    for i, key in enumerate(BACKENDS):
        cni_services.add_slice("slices", str(i), [cni_grid.pod(key).addresses[family]], ports, "y")
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, BACKENDS, "three slices")


@requirement("SVC-DELETE", feature="services/life-cycle", source=VIPS)
def test_a_deleted_service_answers_no_more(cni_grid: Grid, cni_services: Services) -> None:
    """The cluster IP of a deleted Service leads nowhere."""
    service = cni_services.create("deleted", ALL, [port(8000, 80)], namespace="y", endpoints=3)
    probes = probes_to([pod.key for pod in cni_grid.one_per_node()], [service.cluster_ip], 8000, (TCP,))
    expect_answers(cni_grid, probes, BACKENDS, "before the Service is deleted")
    cni_services.delete(service)
    expect_denied(cni_grid, probes, "after the Service was deleted")
