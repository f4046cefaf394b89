# SPDX-License-Identifier: Apache-2.0
"""Which implementation of load balancers a cluster shows traces of, and which addresses a range holds."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.kube.loadbalancers import address_range, find_load_balancer, in_ranges
from pytest_cniconformance.kube.ownership import own


class Cluster:
    """The three calls of KubeClient that detection makes."""

    def __init__(self, *served: tuple[str, str], provider: str = "", pools: int = 1) -> None:
        self.served, self.provider, self.pools = served, provider, pools

    def has(self, version: str, kind: str) -> bool:
        return (version, kind) in self.served

    def list(self, version: str, kind: str) -> list[dict[str, Any]]:
        if kind == "Node":
            return [{"spec": {"providerID": self.provider}}, {"spec": {}}]
        return [{"metadata": {"name": f"pool-{i}"}} for i in range(self.pools)]


METALLB = ("metallb.io/v1beta1", "IPAddressPool")
CILIUM = ("cilium.io/v2alpha1", "CiliumLoadBalancerIPPool")


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        (Cluster(METALLB), "metallb"),
        (Cluster(CILIUM), "cilium-lb-ipam"),
        (Cluster(METALLB, provider="kind://docker/kind/node"), "metallb"),
        (Cluster(CILIUM, pools=0, provider="aws:///eu-west-1a/i-1"), "cloud"),
        (Cluster(provider="kind://docker/kind/node"), "cloud-provider-kind"),
        (Cluster(provider="k3s://node"), "k3s-servicelb"),
        (Cluster(provider="unheard-of://x"), None),
        (Cluster(), None),
    ],
)
def test_pools_come_before_nodes(cluster: Any, name: str | None) -> None:
    found, pools = find_load_balancer(cluster)
    assert (found.name if found else None) == name
    assert bool(pools) == (name in ("metallb", "cilium-lb-ipam"))


def test_pools_that_a_check_made_are_nobodys() -> None:
    class Checked(Cluster):
        def list(self, version: str, kind: str) -> list[dict[str, Any]]:
            mine = own({"metadata": {"name": "cniconformance-1-gw0"}}, "1", 60)
            return [*super().list(version, kind), mine] if kind == "IPAddressPool" else []

    beside_theirs: Any = Checked(METALLB)
    assert [pool["metadata"]["name"] for pool in find_load_balancer(beside_theirs)[1]] == ["pool-0"]
    alone: Any = Checked(METALLB, pools=0)
    assert find_load_balancer(alone) == (None, [])


def test_ranges_are_pairs_or_networks() -> None:
    assert [str(end) for end in address_range("10.0.0.5-10.0.0.9")] == ["10.0.0.5", "10.0.0.9"]
    assert [str(end) for end in address_range("fd00::/126")] == ["fd00::", "fd00::3"]
    assert in_ranges("10.0.0.9", ["fd00::/64", "10.0.0.5-10.0.0.9"])
    assert not in_ranges("10.0.0.10", ["fd00::/64", "10.0.0.5-10.0.0.9"])


@pytest.mark.parametrize("text", ["", "10.0.0.9-10.0.0.5", "10.0.0.1-fd00::1", "10.0.0.0/33", "pool"])
def test_what_is_no_range_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="no address range"):
        address_range(text)
