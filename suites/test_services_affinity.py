# SPDX-License-Identifier: Apache-2.0
"""Session affinity: one client, one backend, for as long as it says."""

from __future__ import annotations

import threading

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.answers import expect_answers, expect_exactly, expect_one, probes_to
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, node_addresses, port
from pytest_cniconformance.model.failure import ConformanceFailure

pytestmark = pytest.mark.services

AFFINITY = "https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity"
TIMEOUT = "https://kubernetes.io/docs/reference/networking/virtual-ips/#session-stickiness-timeout"
ALL = {"grid": "backend"}
BACKENDS = ("y/a", "y/b", "y/c")
EXPIRY_SECONDS = 1


@pytest.mark.smoke
@requirement("SVC-AFFINITY", feature="services/affinity", source=AFFINITY)
def test_client_ip_affinity_sticks_to_one_backend(cni_grid: Grid, cni_services: Services) -> None:
    """With sessionAffinity ClientIP all connections of a client reach the same backend."""
    service = _sticky(cni_grid, cni_services, "affinity")
    expect_one(cni_grid, "x/a", service.cluster_ip, 8000, "affinity")


@requirement("SVC-AFFINITY-NODEPORT", feature="services/affinity", source=AFFINITY)
def test_affinity_holds_at_node_ports(cni_grid: Grid, cni_services: Services) -> None:
    """With sessionAffinity ClientIP all connections of a client to one node's NodePort reach the same backend."""
    service = _sticky(cni_grid, cni_services, "affinity-nodeport", type="NodePort")
    number, address = service.node_port(8000), node_addresses(cni_grid, service)[0]
    expect_answers(cni_grid, probes_to(["x/a"], [address], number), BACKENDS, "node port")
    expect_one(cni_grid, "x/a", address, number, "affinity at a node port")


@requirement("SVC-AFFINITY-TIMEOUT", feature="services/affinity", source=TIMEOUT)
def test_affinity_ends_with_its_timeout(cni_grid: Grid, cni_services: Services) -> None:
    """A client that was away for longer than the affinity timeout may reach another backend."""
    config = {"clientIP": {"timeoutSeconds": EXPIRY_SECONDS}}
    service = _sticky(cni_grid, cni_services, "affinity-expiry", sessionAffinityConfig=config)
    clients = [key for key, pod in cni_grid.pods.items() if not pod.host_network and key not in BACKENDS]
    probes = probes_to(clients, [service.cluster_ip], 8000)
    before = [seen.responder for seen in expect_answers(cni_grid, probes, BACKENDS, "first connections")]
    # Six clients choose anew: by chance all stay in one round of 729, in all three rounds once in 4·10⁸ runs.
    for _ in range(3):
        threading.Event().wait(2 * EXPIRY_SECONDS)  # the absence that the check is about
        if [seen.responder for seen in expect_answers(cni_grid, probes, BACKENDS, "later")] != before:
            return
    raise ConformanceFailure(
        f"{len(clients)} clients kept their backends over three pauses of {2 * EXPIRY_SECONDS} s, "
        f"with an affinity timeout of {EXPIRY_SECONDS} s"
    )


@requirement("SVC-AFFINITY-OFF", feature="services/affinity", source=AFFINITY)
def test_affinity_can_be_switched_off(cni_grid: Grid, cni_services: Services) -> None:
    """When sessionAffinity is changed to None, a client's connections are spread again."""
    service = _sticky(cni_grid, cni_services, "affinity-off")
    expect_one(cni_grid, "x/a", service.cluster_ip, 8000, "affinity")
    cni_services.create("affinity-off", ALL, [port(8000, 80)], namespace="y", sessionAffinity="None")
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, BACKENDS, "affinity is off")


@requirement("SVC-AFFINITY-GONE", feature="services/affinity", source=AFFINITY)
def test_affinity_ends_with_its_backend(cni_grid: Grid, cni_services: Services) -> None:
    """A client whose backend is gone sticks to another one, and none of its connections fails."""
    for key in BACKENDS:
        cni_grid.relabel_for_check(key, {"team": "stick"})
    service = _sticky(cni_grid, cni_services, "affinity-gone", {"team": "stick"})
    gone = expect_one(cni_grid, "x/a", service.cluster_ip, 8000, "affinity")
    cni_grid.relabel(gone, {"team": None})
    left = set(BACKENDS) - {gone}
    expect_answers(cni_grid, probes_to(["x/a"], [service.cluster_ip], 8000), left, f"{gone} is no backend")
    expect_one(cni_grid, "x/a", service.cluster_ip, 8000, "affinity to another backend")


def _sticky(
    grid: Grid, services: Services, name: str, selector: dict[str, str] | None = None, **spec: object
) -> LiveService:
    service = services.create(
        name,
        selector or ALL,
        [port(8000, 80)],
        namespace="y",
        endpoints=3,
        sessionAffinity="ClientIP",
        **spec,  # type: ignore[arg-type]
    )
    expect_answers(grid, probes_to(["x/a"], [service.cluster_ip], 8000), BACKENDS, name)
    return service
