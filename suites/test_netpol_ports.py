# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: ports, ranges, names and protocols."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import network_policy, port, rule

pytestmark = pytest.mark.netpol

API = "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"


@requirement("NP-PRT-1", feature="networkpolicy/ports", source=API)
def test_a_port_means_tcp_unless_it_says_so(cni_grid: Grid) -> None:
    """A port without protocol is TCP; UDP on the same number and other ports stay closed."""
    cni_grid.apply(
        network_policy("tcp-80-81", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, None), port(81)])])
    )
    cni_grid.check("80 and 81 over TCP", destinations=["x/a"], ports=(80, 81))
    cni_grid.apply(network_policy("tcp-80-81", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, None)])]))
    cni_grid.check("80 over TCP", destinations=["x/a"], ports=(80, 81))


@requirement(
    "NP-END-1",
    feature="networkpolicy/endport",
    source="https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/2079-network-policy-port-range",
)
def test_end_port_covers_the_range(cni_grid: Grid) -> None:
    """A range up to endPort allows every port of the range, both ends included, and no other."""
    policy = network_policy("range", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, "TCP", end=81)])])
    _with_port_82(cni_grid)
    cni_grid.apply(policy)
    cni_grid.check("80 to 81", destinations=["x/a"], ports=(80, 81), protocols=(Protocol.TCP,))
    cni_grid.check("82 is outside", destinations=["x/a"], ports=(82,), protocols=(Protocol.TCP,))


def _with_port_82(grid: Grid) -> None:
    """See that port 82 is open while nothing is applied, so that its deny means something."""
    grid.check("no policy", destinations=["x/a"], ports=(82,), protocols=(Protocol.TCP,))
