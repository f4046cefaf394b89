# SPDX-License-Identifier: Apache-2.0
"""The wire below the cluster: the underlay bridge, the nodes' uplinks, and a host outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import (
    IPV4,
    IPV6,
    OUTSIDE,
    UNDERLAY_BRIDGE,
    NodeAddresses,
    Plan,
    family_of,
    host_address,
    outside_address,
    underlay_network,
)
from pytest_cniconformance.lab.dataplane.commands import Batch

if TYPE_CHECKING:
    from pytest_cniconformance.lab.dataplane.commands import Commands


def _address(ip: str) -> str:
    family = family_of(ip)
    nodad = "" if family == IPV4 else " nodad"
    return f"{ip}/{underlay_network(family).prefixlen}{nodad}"


def _with_device(ip: str, device: str) -> str:
    address, _, flags = _address(ip).partition(" ")
    return f"addr add {address} dev {device} {flags}".rstrip()


async def build_underlay(commands: Commands, plan: Plan) -> None:
    """Create the bridge in the daemon's namespace and the outside host behind it."""
    batch = Batch()
    batch.ip += [
        "link set lo up",
        f"link add {UNDERLAY_BRIDGE} type bridge mcast_snooping 0",
        f"link set {UNDERLAY_BRIDGE} up",
        *(_with_device(host_address(family), UNDERLAY_BRIDGE) for family in plan.families),
        f"netns add {OUTSIDE}",
        f"link add {OUTSIDE} type veth peer name eth0 netns {OUTSIDE}",
        f"link set {OUTSIDE} master {UNDERLAY_BRIDGE} up",
    ]
    # Frames that cross the bridge are none of this namespace's business.
    batch.sysctl += [
        ("-bridge/bridge-nf-call-iptables", "0"),
        ("-bridge/bridge-nf-call-ip6tables", "0"),
        ("ipv4/ip_forward", "0"),
    ]
    await commands.run(None, batch, what="building the underlay")
    # Only the underlay is on-link and there is no default route: pods and ClusterIPs stay out of reach.
    outside = Batch(ip=["link set lo up", "link set eth0 up"])
    outside.ip += [_with_device(outside_address(family), "eth0") for family in plan.families]
    await commands.run(OUTSIDE, outside, what="building the outside host")
    await commands.links_up(None, [OUTSIDE])


async def build_node(commands: Commands, plan: Plan, node: NodeAddresses) -> None:
    """Create a node's namespace, plug it into the underlay and make it a router."""
    port = f"node{node.index}"
    cable = Batch(
        ip=[
            f"netns add {node.name}",
            f"link add {port} type veth peer name eth0 netns {node.name}",
            f"link set {port} master {UNDERLAY_BRIDGE} up",
        ]
    )
    await commands.run(None, cable, what=f"building node {node.name}")
    batch = Batch()
    batch.early += [
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        # Pods behind one device are neighbours by design; redirects would only confuse them.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/conf/all/arp_notify", "1"),
    ]
    if IPV6 in plan.families:
        batch.early += [
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/forwarding", "1"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/all/ndisc_notify", "1"),
        ]
    batch.ip += ["link set lo up", "link set eth0 up"]
    for family in plan.families:
        batch.ip.append(_with_device(node.underlay(family), "eth0"))
        batch.ip.append(f"route add default via {host_address(family)} dev eth0")
    await commands.run(node.name, batch, what=f"building node {node.name}")
    await commands.links_up(None, [port])
