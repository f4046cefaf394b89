# SPDX-License-Identifier: Apache-2.0
"""What clients notice when backends go and the node that answers for an address changes. No node is ever drained."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.balancers import PORT, Balancers
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.latency import LatencyBench
from pytest_cniconformance.fixtures.vantage import Vantage
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.probe.questions import HeldFlow, hold

pytestmark = pytest.mark.loadbalancer

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer"
LAYER2 = "https://metallb.io/concepts/layer2/#limitations"
FAILOVER_LIMIT_MS = 10_000
"""MetalLB asks for a bug report about failovers slower than this."""
CONNECTIONS, INTERVAL_MS, PATIENCE_MS = 20, 20, 500


@requirement("LB-BACKEND", feature="loadbalancer/failover", source=DOCS)
def test_a_backend_that_goes_is_not_asked_any_more(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage, cni_measure: LatencyBench
) -> None:
    """When one of two backends goes, new connections from outside soon reach the other one only; the gap is measured."""
    for key in ("y/a", "y/c"):
        cni_grid.relabel_for_check(key, {"balanced": "yes"})
    address = cni_balancers.create("backend", backend={"balanced": "yes"}).addresses[0]
    cni_balancers.answered(cni_external, address, ["y/a", "y/c"], times=CONNECTIONS)
    flow = hold(
        cni_grid.agent(cni_external.key),
        address,
        PORT,
        fresh=True,
        interval_ms=INTERVAL_MS,
        patience_ms=PATIENCE_MS,
    )
    try:
        cni_grid.relabel("y/a", {"balanced": None})
        cni_balancers.answered(cni_external, address, ["y/c"], times=CONNECTIONS)
    finally:
        seen = flow.stop()
    cni_measure.record("loadbalancer/backend-gap", [_longest_gap(seen) * 1000])


@requirement("LB-FAILOVER", level=SHOULD, feature="loadbalancer/failover", source=LAYER2)
def test_traffic_follows_its_backend_to_another_node(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage, cni_measure: LatencyBench
) -> None:
    """When the only backend under Local moves to another node, traffic from outside follows it within 10 s."""
    cni_balancers.need("local")
    old, new = cni_balancers.movers()[:2]
    cni_grid.relabel_for_check(old, {"moving": "yes"})
    service = cni_balancers.create("moving", backend={"moving": "yes"}, externalTrafficPolicy="Local")
    address = service.addresses[0]
    cni_balancers.answered(cni_external, address, [old])
    flow = hold(
        cni_grid.agent(cni_external.key),
        address,
        PORT,
        fresh=True,
        interval_ms=INTERVAL_MS,
        patience_ms=PATIENCE_MS,
    )
    try:
        cni_grid.relabel_for_check(new, {"moving": "yes"})
        cni_grid.relabel(old, {"moving": None})
        cni_balancers.answered(cni_external, address, [new], times=CONNECTIONS)
    finally:
        seen = flow.stop()
    gap = _longest_gap(seen)
    cni_measure.record("loadbalancer/failover-gap", [gap * 1000])
    if gap > FAILOVER_LIMIT_MS:
        raise ConformanceFailure(f"{address} was not answered for {gap / 1000:.1f} s while its backend moved")


def _longest_gap(flow: HeldFlow) -> float:
    """Return the longest time without an answer, in milliseconds; the flow began and ended answered."""
    longest, since = 0.0, None
    for at, state, _ in flow.events:
        if state == "down" and since is None:
            since = at
        elif state == "up" and since is not None:
            longest, since = max(longest, at - since), None
    return longest
