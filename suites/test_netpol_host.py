# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: the pod's own node, pods on the host network, and the pod itself."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_DOCS
from pytest_cniconformance.model.failure import ClusterError, ConformanceFailure, NotEnforced
from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Probe, Verdict
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy

pytestmark = pytest.mark.netpol


@requirement(
    "NP-NODE-1", feature="networkpolicy/node", source="https://github.com/kubernetes/enhancements/issues/4558"
)
def test_the_pods_own_node_is_never_denied(cni_grid: Grid) -> None:
    """Under default deny the pod's own node still reaches it, or kubelet probes would fail."""
    agents = cni_grid.node_agents()
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny is in force", destinations=["x/a", "x/b", "x/c"])
    cells = [Cell(agents[cni_grid.pod(key).node].key, key, 80) for key in ("x/a", "x/b", "x/c")]
    cni_grid.expect_open(cells, "from the pod's own node under default deny")


@requirement("NP-SELF-1", feature="networkpolicy/self", source=NETPOL_DOCS + "#prerequisites")
def test_a_pod_always_reaches_itself(cni_grid: Grid) -> None:
    """A pod under default deny in both directions still reaches its own address."""
    address = cni_grid.pod("x/a").ip
    cni_grid.apply(network_policy("deny-all", "x", {}, types=[INGRESS, EGRESS]))

    def not_in_force() -> str | None:
        seen = cni_grid.probe(Probe("y/a", address, 80))[0]
        return None if seen.verdict.denied else f"y/a → x/a:80/TCP expected denied, observed {seen}"

    def unreachable() -> str | None:
        # The loopback address is the control: the usual one is the pod's own address, which is in question here.
        own, loopback = cni_grid.probe(Probe("x/a", address, 80), Probe("x/a", "127.0.0.1", 80))
        if loopback.verdict is not Verdict.OPEN:
            raise ClusterError(f"x/a does not even reach its server on 127.0.0.1: {loopback}")
        return (
            None if own.verdict is Verdict.OPEN else f"x/a → its own address {address}:80/TCP, observed {own}"
        )

    try:
        cni_grid.eventually("deny all in x", not_in_force, deadline=cni_grid.patience())
    except ConformanceFailure as failure:
        if "observed open" in str(failure):
            raise NotEnforced(str(failure)) from None
        raise
    cni_grid.eventually("a pod under deny all", unreachable, deadline=cni_grid.patience())
    cni_grid.check("deny all in x", sources=["x/a", "x/b", "y/a"], destinations=["x/a", "x/b", "y/a"])
