# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: what changes when policies, pods and namespaces change."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import ALLOW, Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API
from pytest_cniconformance.model.matrix import Cell, Expectation
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule

pytestmark = pytest.mark.netpol


@requirement("NP-DYN-3", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_an_updated_policy_takes_effect(cni_grid: Grid) -> None:
    """After an update the old rules no longer allow and the new ones do."""
    for number in (80, 81):
        cni_grid.apply(network_policy("moving", "x", {"pod": "a"}, ingress=[rule(ports=[port(number)])]))
        cni_grid.check(f"only {number}", destinations=["x/a"])


@requirement("NP-DYN-4", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_a_deleted_policy_leaves_nothing_behind(cni_grid: Grid) -> None:
    """Deleting one of two policies keeps the other; deleting both ends the isolation."""
    first = network_policy("first", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})])])
    second = network_policy("second", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "z"})])])
    cni_grid.apply(first, second)
    cni_grid.check("y and z", destinations=["x/a"])
    cni_grid.delete(first)
    cni_grid.check("z only", destinations=["x/a"])
    cni_grid.delete(second)
    cells = [Cell(s, "x/a", 80) for s in cni_grid.pods if not cni_grid.pod(s).host_network]
    cni_grid.expect(
        {cell: Expectation(ALLOW, ("no policy selects x/a any more",)) for cell in cells}, "all deleted"
    )
