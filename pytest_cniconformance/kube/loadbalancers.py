# SPDX-License-Identifier: Apache-2.0
"""Who gives LoadBalancer Services their addresses on this cluster, and what that implementation documents."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .ownership import owned

if TYPE_CHECKING:
    from .client import KubeClient
    from .objects import Obj

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CAPABILITIES = {
    "static-field": "addresses by spec.loadBalancerIP",
    "static-annotation": "addresses by annotation",
    "pools": "pools chosen by annotation",
    "sharing": "addresses shared by Services",
    "own-address": "an address of its own for each Service",
    "local": "externalTrafficPolicy Local",
    "source-ranges": "loadBalancerSourceRanges",
    "without-node-ports": "Services without node ports",
    "mixed-protocols": "TCP and UDP on one Service",
    "own-pools": "pools that checks may add",
    "one-owner": "one node that answers for an address on its link",
}
"""What an implementation may document beside an address that is reachable; the values complete a sentence."""


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """One implementation. It is recognised by objects of ``pool_kind``, or by nodes of ``providers``.

    Annotations are listed with the current domain first; the others are older spellings that still count.
    """

    name: str
    title: str
    capabilities: frozenset[str]
    pool_kind: str = ""
    pool_versions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    """Prefixes of nodes' ``spec.providerID``."""
    address_annotations: tuple[str, ...] = ()
    pool_annotations: tuple[str, ...] = ()
    sharing_annotations: tuple[str, ...] = ()

    def claims(self, capability: str) -> bool:
        """Whether the implementation documents a capability of :data:`CAPABILITIES`."""
        return capability in self.capabilities


def _implementation(name: str, title: str, *capabilities: str, **traces: object) -> LoadBalancer:
    unknown = set(capabilities) - set(CAPABILITIES)
    assert not unknown, unknown
    return LoadBalancer(name, title, frozenset(capabilities), **traces)  # type: ignore[arg-type]


_METALLB = ("metallb.io/", "metallb.universe.tf/")

IMPLEMENTATIONS = (
    # https://metallb.io/usage/, https://metallb.io/configuration/_advanced_ipaddresspool_configuration/
    _implementation(
        "metallb",
        "MetalLB",
        *CAPABILITIES,
        pool_kind="IPAddressPool",
        pool_versions=("metallb.io/v1beta1",),
        address_annotations=tuple(f"{domain}loadBalancerIPs" for domain in _METALLB),
        pool_annotations=tuple(f"{domain}address-pool" for domain in _METALLB),
        sharing_annotations=tuple(f"{domain}allow-shared-ip" for domain in _METALLB),
    ),
    # https://docs.cilium.io/en/stable/network/lb-ipam/ - pools choose Services by selector, not by annotation.
    _implementation(
        "cilium-lb-ipam",
        "Cilium LB IPAM",
        *(set(CAPABILITIES) - {"pools", "own-pools"}),
        pool_kind="CiliumLoadBalancerIPPool",
        pool_versions=("cilium.io/v2", "cilium.io/v2alpha1"),
        address_annotations=("lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"),
        sharing_annotations=("lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"),
    ),
    # https://github.com/kubernetes-sigs/cloud-provider-kind - a proxy container for each Service.
    _implementation("cloud-provider-kind", "cloud-provider-kind", "own-address", providers=("kind://",)),
    # https://docs.k3s.io/networking/networking-services#service-load-balancer - the nodes' own addresses.
    _implementation("k3s-servicelb", "K3s ServiceLB", providers=("k3s://",)),
    # Clouds differ in everything else; what their common documentation promises is what Kubernetes' own does.
    _implementation(
        "cloud",
        "the load balancer of a cloud",
        "own-address",
        "local",
        "source-ranges",
        providers=("aws://", "gce://", "azure://", "digitalocean://", "hcloud://", "openstack://", "ibm://", "oci://"),
    ),
)  # fmt: skip


def find_load_balancer(kube: KubeClient) -> tuple[LoadBalancer | None, list[Obj]]:
    """Return the implementation that this cluster shows traces of, and its pools.

    Pools come before nodes: who configured pools wants them used. Pools that a run made for a check are nobody's:
    they are gone when that check ends, whoever uses them.
    """
    for found in IMPLEMENTATIONS:
        for version in found.pool_versions:
            if kube.has(version, found.pool_kind):
                pools = [pool for pool in kube.list(version, found.pool_kind) if not owned(pool)]
                if pools:
                    return found, pools
    ids = [str((node.get("spec") or {}).get("providerID", "")) for node in kube.list("v1", "Node")]
    for found in IMPLEMENTATIONS:
        if any(identifier.startswith(found.providers) for identifier in ids if found.providers):
            return found, []
    return None, []


def pool_ranges(pool: Obj) -> list[str]:
    """Return the ranges of a pool of MetalLB (``spec.addresses``) or Cilium (``spec.blocks``)."""
    spec = pool.get("spec") or {}
    blocks = spec.get("blocks") or spec.get("cidrs") or []
    return [
        *(str(text) for text in spec.get("addresses") or []),
        *(str(b.get("cidr") or f"{b.get('start')}-{b.get('stop') or b.get('start')}") for b in blocks),
    ]


def automatic(pool: Obj) -> bool:
    """Whether Services that name no pool and no address may be served from it."""
    spec = pool.get("spec") or {}
    restricted = spec.get("serviceAllocation") or spec.get("serviceSelector") or spec.get("disabled")
    return bool(spec.get("autoAssign", True) and not restricted)


def address_range(text: str) -> tuple[Address, Address]:
    """Return the first and the last address of ``FIRST-LAST`` or a CIDR.

    Raises:
        ValueError: it is neither; the message says so.
    """
    try:
        if "-" in text:
            first, last = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
            if first.version == last.version and int(first) <= int(last):
                return first, last
        else:
            network = ipaddress.ip_network(text, strict=False)
            return network[0], network[-1]
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no address range: use FIRST-LAST or a CIDR")


def in_ranges(address: str, ranges: Iterable[str]) -> bool:
    """Whether an address lies in one of the ranges."""
    number = ipaddress.ip_address(address)
    for first, last in map(address_range, ranges):
        if first.version == number.version and int(first) <= int(number) <= int(last):
            return True
    return False
