# SPDX-License-Identifier: Apache-2.0
"""How each CNI wires nodes and pods: devices, addresses and routes, as their projects document them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_cniconformance.lab.dataplane.addressing import (
    IPV4,
    IPV6,
    NodeAddresses,
    Plan,
    family_of,
    pod_network,
)
from pytest_cniconformance.lab.dataplane.commands import Batch

if TYPE_CHECKING:
    from pytest_cniconformance.lab.dataplane.seams import PodNet
    from pytest_cniconformance.lab.dataplane.view import Pod

_VXLAN_OVERHEAD = {IPV4: 50, "ipv6": 70}
_CALICO_GATEWAY = "169.254.1.1"
_CALICO_MAC = "ee:ee:ee:ee:ee:ee"
_CALICO_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"


@dataclass(frozen=True)
class Profile(ABC):
    """The wiring of one CNI. Batches returned here are run by the engine, in the namespace they are named for."""

    plan: Plan
    pod_mtu_extra: int = 0
    """Bytes by which pods believe the MTU to be larger than it is (a fault; 0 in a sound dataplane)."""

    name: ClassVar[str]
    tunnel: ClassVar[str]
    vni: ClassVar[int]
    port: ClassVar[int]
    prefix: ClassVar[str]
    enforces_policy: ClassVar[bool] = True
    follows_hints: ClassVar[bool] = True
    """Whether Services follow the topology hints of EndpointSlices; kube-proxy does."""
    bridged: ClassVar[bool] = False

    @property
    def mtu(self) -> int:
        """The MTU that fits into the tunnel."""
        return 1500 - _VXLAN_OVERHEAD[self.plan.families[0]]

    @property
    def pod_mtu(self) -> int:
        """The MTU of pod interfaces."""
        return self.mtu + self.pod_mtu_extra

    def interface(self, pod: PodNet | Pod) -> str:
        """Name the node's end of the pod's link; 15 characters at most."""
        digest = hashlib.sha1(f"{pod.namespace}.{pod.name}".encode(), usedforsecurity=False).hexdigest()
        return self.prefix + digest[: 14 - len(self.prefix)]

    def node(self, node: NodeAddresses) -> Batch:
        """Give the commands for a node's namespace, in which eth0 is already up."""
        batch = Batch()
        self._overlay(node, batch)
        self._devices(node, batch)
        return batch

    def _overlay(self, node: NodeAddresses, batch: Batch) -> None:
        local = node.underlay(self.plan.families[0])
        batch.ip += [
            (
                f"link add {self.tunnel} mtu {self.mtu} address {node.vtep_mac} type vxlan id {self.vni} "
                f"dev eth0 local {local} dstport {self.port} nolearning"
            ),
            f"link set {self.tunnel} up",
        ]
        for family in self.plan.families:
            host_bits = 32 if family == IPV4 else 128
            nodad = "" if family == IPV4 else " nodad"
            batch.ip.append(f"addr add {node.vtep(family)}/{host_bits} dev {self.tunnel}{nodad}")
        # Nothing is learned from the wire: every peer's endpoint is known, as an agent would program it.
        for other in self.plan.others(node.name):
            batch.bridge.append(
                f"fdb append {other.vtep_mac} dev {self.tunnel} dst {other.underlay(self.plan.families[0])}"
            )
            for family in self.plan.families:
                batch.ip += [
                    f"neigh replace {other.vtep(family)} lladdr {other.vtep_mac} dev {self.tunnel} nud permanent",
                    f"route replace {other.pod_cidr(family)} via {other.vtep(family)} dev {self.tunnel} onlink"
                    + self._source(node, family),
                ]

    def _source(self, node: NodeAddresses, family: str) -> str:
        """Choose the address that the node itself uses towards remote pods: that of the tunnel, if empty."""
        return ""

    @abstractmethod
    def _devices(self, node: NodeAddresses, batch: Batch) -> None:
        """Add what the CNI has on every node beside the tunnel."""

    @abstractmethod
    def node_side(self, node: NodeAddresses, pod: PodNet, batch: Batch) -> None:
        """Add the commands, for the node's namespace, that connect a pod."""

    @abstractmethod
    def pod_side(self, node: NodeAddresses, pod: PodNet) -> Batch:
        """Give the commands for the pod's own namespace."""

    def gateway(self, node: NodeAddresses, family: str) -> str:
        """Tell the next hop of the node's pods."""
        return node.gateway(family)

    def _veth(self, pod: PodNet, *, mac: str = "") -> str:
        address = f" address {mac}" if mac else ""
        return (
            f"link add {self.interface(pod)} mtu {self.pod_mtu}{address} type veth "
            f"peer name eth0 mtu {self.pod_mtu} netns {pod.netns}"
        )

    def _host_routes(self, pod: PodNet, batch: Batch) -> None:
        for ip in pod.ips:
            batch.ip.append(f"route replace {ip} dev {self.interface(pod)} scope link")


class Flannel(Profile):
    """Bridge cni0 on every node, VXLAN between them, no policy engine."""

    name, tunnel, vni, port, prefix = "flannel", "flannel.1", 1, 8472, "veth"
    enforces_policy = False
    bridged = True

    def _devices(self, node: NodeAddresses, batch: Batch) -> None:
        batch.ip += [f"link add cni0 mtu {self.pod_mtu} type bridge mcast_snooping 0", "link set cni0 up"]
        for family in self.plan.families:
            nodad = "" if family == IPV4 else " nodad"
            prefix = node.pod_cidr(family).prefixlen
            batch.ip.append(f"addr add {node.gateway(family)}/{prefix} dev cni0{nodad}")
        # Without this, packets between two pods of the node bypass conntrack, and the answers of a Service
        # endpoint on the client's own node come back with the endpoint's address.
        batch.sysctl += [("-bridge/bridge-nf-call-iptables", "1"), ("-bridge/bridge-nf-call-ip6tables", "1")]

    def node_side(self, node: NodeAddresses, pod: PodNet, batch: Batch) -> None:
        """Plug the pod into the bridge; hairpin mode lets it reach itself through a Service."""
        batch.ip += [
            self._veth(pod),
            f"link set {self.interface(pod)} master cni0 up",
            f"link set {self.interface(pod)} type bridge_slave hairpin on",
        ]

    def pod_side(self, node: NodeAddresses, pod: PodNet) -> Batch:
        """Address out of the node's subnet, default route through the bridge."""
        batch = Batch(ip=["link set lo up", "link set eth0 up"])
        for ip in pod.ips:
            family = family_of(ip)
            nodad = "" if family == IPV4 else " nodad"
            batch.ip += [
                f"addr add {ip}/{node.pod_cidr(family).prefixlen} dev eth0{nodad}",
                f"route replace {pod_network(family)} via {node.gateway(family)} dev eth0",
                f"route replace default via {node.gateway(family)} dev eth0",
            ]
        return batch


class Calico(Profile):
    """Routed veths: no bridge, every pod's next hop is 169.254.1.1, answered by proxy ARP on cali*."""

    name, tunnel, vni, port, prefix = "calico", "vxlan.calico", 4096, 4789, "cali"

    def _devices(self, node: NodeAddresses, batch: Batch) -> None:
        # These defaults reach only devices made later, that is cali*: Felix sets them on each one.
        batch.sysctl += [
            ("ipv4/conf/default/proxy_arp", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
        ]

    def gateway(self, node: NodeAddresses, family: str) -> str:
        """Every pod of every node has the same next hop."""
        return _CALICO_GATEWAY if family == IPV4 else _CALICO_LINK_LOCAL

    def node_side(self, node: NodeAddresses, pod: PodNet, batch: Batch) -> None:
        """One link and one host route per pod."""
        name = self.interface(pod)
        batch.ip += [
            self._veth(pod, mac=_CALICO_MAC),
            # The kernel would let the gateway answer after up to 0.8 s.
            f"ntable change name arp_cache dev {name} proxy_delay 0",
            f"link set {name} up",
        ]
        if IPV6 in self.plan.families:
            batch.ip.append(f"addr replace {_CALICO_LINK_LOCAL}/64 dev {name} nodad")
        self._host_routes(pod, batch)

    def pod_side(self, node: NodeAddresses, pod: PodNet) -> Batch:
        """Give a /32 address; the gateway is on-link although no subnet holds it."""
        batch = Batch(ip=["link set lo up", "link set eth0 up"])
        for ip in pod.ips:
            if family_of(ip) == IPV4:
                batch.ip += [
                    f"addr add {ip}/32 dev eth0",
                    f"route replace {_CALICO_GATEWAY} dev eth0 scope link",
                    f"route replace default via {_CALICO_GATEWAY} dev eth0",
                ]
            else:
                batch.ip += [
                    f"addr add {ip}/128 dev eth0 nodad",
                    f"route replace default via {_CALICO_LINK_LOCAL} dev eth0",
                ]
        return batch


class Cilium(Profile):
    """Routed veths with the node's router address (cilium_host) as next hop."""

    name, tunnel, vni, port, prefix = "cilium", "cilium_vxlan", 2, 8472, "lxc"
    follows_hints = False  # loadBalancer.serviceTopology is off by default (cilium/cilium#17929)

    def _source(self, node: NodeAddresses, family: str) -> str:
        return f" src {node.gateway(family)}"

    def _devices(self, node: NodeAddresses, batch: Batch) -> None:
        # Before the overlay's routes, which name the router address as their source.
        devices = [
            f"link add cilium_host mtu {self.mtu} type veth peer name cilium_net mtu {self.mtu}",
            "link set cilium_host up",
            "link set cilium_net up",
        ]
        for family in self.plan.families:
            host_bits = 32 if family == IPV4 else 128
            nodad = "" if family == IPV4 else " nodad"
            devices.append(f"addr add {node.gateway(family)}/{host_bits} dev cilium_host{nodad}")
        batch.ip[:0] = devices
        if IPV6 in self.plan.families:
            batch.sysctl.append(("ipv6/conf/default/proxy_ndp", "1"))

    def node_side(self, node: NodeAddresses, pod: PodNet, batch: Batch) -> None:
        """One link and one host route per pod."""
        name = self.interface(pod)
        batch.ip += [self._veth(pod), f"link set {name} up"]
        if IPV6 in self.plan.families:
            # Unlike ARP, neighbour discovery answers only for addresses of the same device.
            batch.ip += [
                f"ntable change name ndisc_cache dev {name} proxy_delay 0",
                f"neigh add proxy {node.gateway(IPV6)} dev {name}",
            ]
        self._host_routes(pod, batch)

    def pod_side(self, node: NodeAddresses, pod: PodNet) -> Batch:
        """Give a /32 address and the router address as on-link gateway."""
        batch = Batch(ip=["link set lo up", "link set eth0 up"])
        for ip in pod.ips:
            family = family_of(ip)
            bits, nodad = (32, "") if family == IPV4 else (128, " nodad")
            batch.ip += [
                f"addr add {ip}/{bits} dev eth0{nodad}",
                f"route replace {node.gateway(family)} dev eth0 scope link",
                f"route replace default via {node.gateway(family)} dev eth0",
            ]
        return batch


PROFILE_CLASSES: dict[str, type[Profile]] = {cls.name: cls for cls in (Flannel, Calico, Cilium)}
