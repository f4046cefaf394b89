# SPDX-License-Identifier: Apache-2.0
"""Which address belongs to what in the lab: one place, so that every part computes the same answer.

Underlay 172.30.0.0/16 (fd00:172:30::/64), pods 10.244.0.0/16 with a /24 per node (fd00:10:244::/48, a /64
per node), Services 10.96.0.0/16 (fd00:10:96::/112). In a node's pod range ``.0`` is its tunnel endpoint and ``.1``
its gateway, so pods begin at ``.2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPV4 = "ipv4"
IPV6 = "ipv6"
OUTSIDE = "outside"
UNDERLAY_BRIDGE = "underlay"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_UNDERLAY: dict[str, Network] = {IPV4: IPv4Network("172.30.0.0/16"), IPV6: IPv6Network("fd00:172:30::/64")}
_PODS: dict[str, Network] = {IPV4: IPv4Network("10.244.0.0/16"), IPV6: IPv6Network("fd00:10:244::/48")}
_SERVICES: dict[str, Network] = {IPV4: IPv4Network("10.96.0.0/16"), IPV6: IPv6Network("fd00:10:96::/112")}
_HOST = {IPV4: "172.30.0.1", IPV6: "fd00:172:30::1"}
_OUTSIDE = {IPV4: "172.30.2.1", IPV6: "fd00:172:30::2:1"}


def family_of(address: str) -> str:
    """``ipv4`` or ``ipv6``; takes an address or a CIDR."""
    return IPV6 if ":" in address else IPV4


def nft_family(family: str) -> str:
    """Return the keyword that nftables uses for a family's header: ``ip`` or ``ip6``."""
    return "ip6" if family == IPV6 else "ip"


def underlay_network(family: str) -> Network:
    """Return the range that nodes, the API server, the outside host and load-balancer addresses are in."""
    return _UNDERLAY[family]


def pod_network(family: str) -> Network:
    """Return the range of all pods."""
    return _PODS[family]


def service_network(family: str) -> Network:
    """Return the range of ClusterIPs."""
    return _SERVICES[family]


def host_address(family: str) -> str:
    """Return the daemon's address on the underlay, where the API server listens on port 6443."""
    return _HOST[family]


def outside_address(family: str) -> str:
    """Return the address of the host outside the cluster."""
    return _OUTSIDE[family]


@dataclass(frozen=True)
class NodeAddresses:
    """The addresses of node number ``index`` (from 1)."""

    name: str
    index: int
    families: tuple[str, ...]

    @property
    def zone(self) -> str:
        """The label ``topology.kubernetes.io/zone``: every node is a zone of its own."""
        return f"{self.name}-zone"

    def underlay(self, family: str) -> str:
        """Return the node's InternalIP."""
        return f"172.30.1.{self.index}" if family == IPV4 else f"fd00:172:30::1:{self.index:x}"

    def pod_cidr(self, family: str) -> Network:
        """Return the range that the node's pods get their addresses from."""
        if family == IPV4:
            return IPv4Network(f"10.244.{self.index}.0/24")
        return ip_network(f"fd00:10:244:{self.index:x}::/64")

    def gateway(self, family: str) -> str:
        """Return the address of the node inside its pod range (cni0, cilium_host)."""
        return str(self.pod_cidr(family).network_address + 1)

    def vtep(self, family: str) -> str:
        """Return the address on the VXLAN device: inner source of the node's own traffic to remote pods."""
        base = self.pod_cidr(family).network_address
        return str(base) if family == IPV4 else str(base + (1 << 48) + 1)

    @cached_property
    def vtep_mac(self) -> str:
        """The MAC address of the VXLAN device, known to all nodes without learning."""
        return f"66:1a:b0:00:{self.index >> 8:02x}:{self.index & 255:02x}"


@dataclass(frozen=True)
class Plan:
    """The address plan of one lab."""

    nodes: tuple[NodeAddresses, ...]
    families: tuple[str, ...]

    @classmethod
    def of(cls, nodes: tuple[str, ...], families: tuple[str, ...]) -> Plan:
        """Make a plan; nodes are numbered from 1, in the given order."""
        return cls(tuple(NodeAddresses(name, i, families) for i, name in enumerate(nodes, 1)), families)

    def node(self, name: str) -> NodeAddresses:
        """Return the addresses of a node; KeyError if the lab has no such node."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no node {name!r} in this lab (nodes: {', '.join(n.name for n in self.nodes)})")

    def others(self, name: str) -> tuple[NodeAddresses, ...]:
        """All nodes but one."""
        return tuple(node for node in self.nodes if node.name != name)

    def is_pod(self, address: str) -> bool:
        """Whether the address lies in the pod range."""
        return ip_address(address) in pod_network(family_of(address))
