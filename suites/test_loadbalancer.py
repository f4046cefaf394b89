# SPDX-License-Identifier: Apache-2.0
"""LoadBalancer Services: an address of the right pool, reachable from outside, with the client's address."""

from __future__ import annotations

import ipaddress

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.fixtures.vantage import Vantage, reaches_nodes
from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.kube.errors import WaitTimeout
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive, NotSupported
from pytest_cniconformance.model.verdict import Probe, Verdict
from pytest_cniconformance.probe.questions import addresses

pytestmark = pytest.mark.loadbalancer

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer"
LOCAL = "https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip"
METALLB = "https://metallb.io/configuration/_advanced_ipaddresspool_configuration/"
POOL_API = "metallb.io/v1beta1"


@requirement("LB-ASSIGNED", feature="loadbalancer/address", source=DOCS)
def test_a_load_balancer_gets_an_address(cni_grid: Grid, cni_services: Services) -> None:
    """A LoadBalancer Service gets an address."""
    _load_balancer(cni_grid, cni_services, "assigned")


@requirement("LB-REACHABLE", feature="loadbalancer/reachability", source=DOCS)
def test_a_load_balancer_answers_from_outside(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """The address of a LoadBalancer Service answers from outside the cluster."""
    service = _load_balancer(cni_grid, cni_services, "reachable")
    _answered(cni_grid, cni_external, service)


@requirement("LB-ETP-LOCAL", feature="loadbalancer/source-address", source=LOCAL)
def test_traffic_policy_local_preserves_the_client(
    cni_grid: Grid, cni_services: Services, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local the backend sees the address of the client, not of a node."""
    service = _load_balancer(cni_grid, cni_services, "local", externalTrafficPolicy="Local")
    if cni_external.key != "outside":
        raise Inconclusive(f"the vantage is {cni_external.description}: its own address is a node's")
    nodes = {ipaddress.ip_address(ip) for node in cni_grid.facts.nodes for ip in node.internal_ips}
    ranges = [ipaddress.ip_network(cidr) for node in cni_grid.facts.nodes for cidr in node.pod_cidrs]
    seen = _answered(cni_grid, cni_external, service)

    def wrong() -> str | None:
        # Asked again: the address may have been another Service's, whose rules linger on a node for a moment.
        nonlocal seen
        seen = cni_grid.probe(Probe(cni_external.key, service.addresses[0], 8000))[0].peer_ip or seen
        client = ipaddress.ip_address(seen)
        if client in nodes or any(client in network for network in ranges):
            return f"the backend saw {client}, an address of the cluster, instead of the client's"
        return None

    cni_grid.eventually("client address", wrong)
    own = addresses(cni_grid.agent(cni_external.key))
    if seen not in own:
        raise Inconclusive(
            f"the backend saw {seen}; the client's addresses are {', '.join(own)}: a NAT lies between them"
        )


@requirement("LB-POOL", feature="loadbalancer/pools", source=METALLB)
def test_the_requested_pool_is_honoured(cni_grid: Grid, cni_services: Services, cni_kube: KubeClient) -> None:
    """The address comes from the MetalLB pool that the Service's annotation names."""
    if not cni_kube.has(POOL_API, "IPAddressPool"):
        raise NotSupported("no MetalLB on this cluster (IPAddressPool is not served)")
    pools = {
        pool["metadata"]["name"]: pool["spec"]["addresses"]
        for pool in cni_kube.list(POOL_API, "IPAddressPool")
    }
    if not pools:
        raise NotSupported("MetalLB has no IPAddressPool")
    for i, (name, ranges) in enumerate(sorted(pools.items())[:2]):
        annotations = {"metallb.io/address-pool": name}
        service = _load_balancer(cni_grid, cni_services, f"pool-{i}", annotations=annotations)
        address = ipaddress.ip_address(service.addresses[0])
        if not any(_in_range(address, text) for text in ranges):
            raise ConformanceFailure(
                f"pool {name} ({', '.join(ranges)}) was asked for, {address} was assigned"
            )


def _load_balancer(grid: Grid, services: Services, name: str, **extra: object) -> LiveService:
    """Create a LoadBalancer Service over y/b and wait for its address."""
    service = services.create(
        name,
        {"pod": "b"},
        [port(8000, 80)],
        namespace="y",
        endpoints=1,
        type="LoadBalancer",
        **extra,  # type: ignore[arg-type]
    )
    kube = grid.run.kube
    try:
        obj = kube.wait_for(
            "v1",
            "Service",
            lambda found: found is not None and bool(LiveService(found, "").addresses),
            name=service.name,
            namespace=service.namespace,
            timeout=grid.run.settings.timeouts.load_balancer,
            what=f"an address for Service {service.namespace}/{service.name}",
        )
    except WaitTimeout as timeout:
        if _implementation(kube):
            raise ConformanceFailure(f"{timeout}; this cluster has {_implementation(kube)}") from None
        raise NotSupported(
            "no implementation of LoadBalancer Services was recognised on this cluster"
        ) from None
    return LiveService(obj, service.domain)


def _implementation(kube: KubeClient) -> str:
    """Return the implementation that should have assigned an address, empty if none is recognised."""
    if kube.has(POOL_API, "IPAddressPool") and kube.list(POOL_API, "IPAddressPool"):
        return "MetalLB with an IPAddressPool"
    for version in ("cilium.io/v2", "cilium.io/v2alpha1"):
        if kube.has(version, "CiliumLoadBalancerIPPool") and kube.list(version, "CiliumLoadBalancerIPPool"):
            return "Cilium with a CiliumLoadBalancerIPPool"
    return ""


def _answered(grid: Grid, vantage: Vantage, service: LiveService) -> str:
    """Assert that the Service answers from outside; return the client address that the backend saw."""
    address = service.addresses[0]
    seen: list[str] = []

    def wrong() -> str | None:
        observation = grid.probe(Probe(vantage.key, address, 8000))[0]
        if observation.verdict is Verdict.OPEN and observation.responder == "y/b":
            seen.append(observation.peer_ip)
            return None
        return f"{address}:8000 from {vantage.description}: {observation}"

    try:
        grid.eventually("reaching the load balancer from outside", wrong)
    except ConformanceFailure as failure:
        if not reaches_nodes(grid, vantage):
            raise Inconclusive(
                f"{vantage.description} reaches no node of the cluster either, so that nothing follows from it: "
                f"{failure}; choose another vantage with --cni-external"
            ) from None
        raise
    return seen[0]


def _in_range(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> bool:
    """Whether an address lies in ``first-last`` or a CIDR, the two forms of ``spec.addresses``."""
    if "-" in text:
        first, last = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
        return first.version == address.version and int(first) <= int(address) <= int(last)
    return address in ipaddress.ip_network(text, strict=False)
