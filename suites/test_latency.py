# SPDX-License-Identifier: Apache-2.0
"""Round trips against an interleaved host-network baseline, judged by the objectives of ``--cni-slo``."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.latency import LatencyBench
from pytest_cniconformance.fixtures.services import Services, port

pytestmark = pytest.mark.latency

SLO = "https://github.com/kubernetes/community/blob/master/sig-scalability/slos/network_latency.md"


@pytest.mark.smoke
@requirement("LAT-PP-SAME", level=SHOULD, feature="latency/pod-to-pod", source=SLO)
def test_round_trip_on_one_node(cni_grid: Grid, cni_measure: LatencyBench) -> None:
    """The round trip between pods on one node meets its objective."""
    cell = cni_grid.pairs("same-node")[0]
    cni_measure.judge("pod-to-pod/same-node", cell.source, cell.destination)


@pytest.mark.smoke
@requirement("LAT-PP-CROSS", level=SHOULD, feature="latency/pod-to-pod", source=SLO)
def test_round_trip_across_nodes(cni_grid: Grid, cni_measure: LatencyBench) -> None:
    """The round trip between pods on different nodes meets its objective."""
    cell = cni_grid.pairs("cross-node")[0]
    cni_measure.judge("pod-to-pod/cross-node", cell.source, cell.destination)


@pytest.mark.smoke
@requirement("LAT-SVC-SAME", level=SHOULD, feature="latency/pod-to-service", source=SLO)
def test_round_trip_through_a_service_on_one_node(
    cni_grid: Grid, cni_services: Services, cni_measure: LatencyBench
) -> None:
    """The round trip through a Service to a backend on the same node meets its objective."""
    _through_service(cni_grid, cni_services, cni_measure, "same-node")


@pytest.mark.smoke
@requirement("LAT-SVC-CROSS", level=SHOULD, feature="latency/pod-to-service", source=SLO)
def test_round_trip_through_a_service_across_nodes(
    cni_grid: Grid, cni_services: Services, cni_measure: LatencyBench
) -> None:
    """The round trip through a Service to a backend on another node meets its objective."""
    _through_service(cni_grid, cni_services, cni_measure, "cross-node")


def _through_service(grid: Grid, services: Services, measure: LatencyBench, placement: str) -> None:
    cell = grid.pairs(placement)[0]
    namespace, _, name = cell.destination.partition("/")
    service = services.create(
        f"latency-{placement}", {"pod": name}, [port(8000, 80)], namespace=namespace, endpoints=1
    )
    measure.judge(
        f"pod-to-service/{placement}", cell.source, cell.destination, via=(service.cluster_ip, 8000)
    )
