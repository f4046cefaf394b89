# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: ipBlock and except, on addresses outside the cluster."""

from __future__ import annotations

import ipaddress

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API
from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive, NotEnforced
from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Probe, Verdict
from pytest_cniconformance.policy.builders import EGRESS, network_policy, peer, rule

pytestmark = pytest.mark.netpol


@requirement("NP-IPB-1", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_except_is_cut_out_of_its_block_only(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """An ipBlock allows its range without `except`; another rule may still allow what `except` cut out."""
    address, number = _external_endpoint(cni_grid, cni_kube)
    host = ipaddress.ip_network(address)
    block = str(host.supernet(prefixlen_diff=16))
    source = "x/a"
    cell = Cell(source, address, number)
    probe = Probe(source, address, number, talk=False)

    def seen(verdict: str, title: str) -> None:
        allowed = verdict == "open"

        def wrong() -> str | None:
            observation = cni_grid.probe(probe)[0]
            good = observation.verdict is Verdict.OPEN if allowed else observation.verdict.denied
            return None if good else f"{cell} expected {verdict}, observed {observation}"

        try:
            cni_grid.eventually(title, wrong, deadline=cni_grid.patience())
        except ConformanceFailure as failure:
            if not allowed and "observed open" in str(failure):
                raise NotEnforced(str(failure)) from None
            raise

    def policy(*peers: dict[str, object]) -> dict[str, object]:
        return network_policy("blocks", "x", {"pod": "a"}, egress=[rule(list(peers))], types=[EGRESS])

    seen("open", "no policy")
    cni_grid.apply(policy(peer(cidr=block)))
    try:
        seen("open", f"egress to {block}")
    except ConformanceFailure as failure:
        if address in {ip for node in cni_grid.facts.nodes for ip in node.internal_ips}:
            raise Inconclusive(
                f"{address} is a node's address, which the API lets an ipBlock match or not (NP-IPB-4): {failure}"
            ) from None
        raise
    cni_grid.apply(policy(peer(cidr=block, except_=[str(host)])))
    seen("denied", f"egress to {block} except {host}")
    cni_grid.apply(policy(peer(cidr=block, except_=[str(host)]), peer(cidr=str(host))))
    seen("open", f"egress to {block} except {host}, and to {host}")


def _external_endpoint(grid: Grid, kube: KubeClient) -> tuple[str, int]:
    """Return address and port of an API server: outside the pod network, and reachable from pods."""
    slices = kube.list(
        "discovery.k8s.io/v1", "EndpointSlice", "default", labels="kubernetes.io/service-name=kubernetes"
    )
    nodes = {ip for node in grid.facts.nodes for ip in node.internal_ips}
    found = [
        (address, entry["port"])
        for obj in slices
        for endpoint in obj.get("endpoints") or []
        for address in endpoint["addresses"]
        for entry in obj.get("ports") or []
    ]
    if not found:
        raise Inconclusive("the kubernetes Service has no endpoint that could serve as an external address")
    return min(found, key=lambda pair: pair[0] in nodes)
