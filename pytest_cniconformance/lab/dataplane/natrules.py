# SPDX-License-Identifier: Apache-2.0
"""The rules of a node that never change while it lives: masquerading, and faults made of packet filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import (
    IPV4,
    host_address,
    nft_family,
    outside_address,
    pod_network,
)
from pytest_cniconformance.lab.dataplane.nft import Table
from pytest_cniconformance.lab.dataplane.policytable import DELAY_DEVICE

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses, Plan
    from pytest_cniconformance.lab.dataplane.profiles import Profile

DELAY_MARK = 0x1000
DELAY_TABLE = 2005
DELAY_FAULTS = frozenset({"slow-overlay", "slow-same-node", "slow-service"})
_LIMIT = 8


def masquerade_table(plan: Plan, faults: Collection[str]) -> Table:
    """Pods leave the cluster with their node's address, and reach one another with their own."""
    table = Table("inet cni-nat")
    rules = []
    for family in plan.families:
        ip, pods = nft_family(family), pod_network(family)
        multicast = "224.0.0.0/4" if family == IPV4 else "ff00::/8"
        rules.append(f"{ip} saddr {pods} {ip} daddr {multicast} return")
        rules.append(f"{ip} saddr {pods} {ip} daddr != {pods} masquerade fully-random")
        if "source-rewritten" in faults:
            rules.append(f"{ip} saddr {pods} {ip} daddr {pods} masquerade fully-random")
    table.chain("postrouting", rules, "type nat hook postrouting priority srcnat + 1;")
    return table


class FaultTable:
    """Faults that are nothing but a packet filter on every node."""

    def __init__(self, plan: Plan, node: NodeAddresses, profile: Profile, faults: Collection[str]) -> None:
        self._plan = plan
        self._node = node
        self._profile = profile
        self._faults = faults
        self._table = Table("inet lab-fault")

    def build(self) -> Table:
        """Compile; empty without such faults."""
        rules: dict[str, list[str]] = {"forward": [], "input": [], "output": [], "prerouting": []}
        for family in self._plan.families:
            self._reachability(family, rules)
        for hook, lines in rules.items():
            if lines:
                priority = "raw" if hook == "prerouting" else "filter - 5"
                self._table.chain(hook, lines, f"type filter hook {hook} priority {priority};")
        if DELAY_FAULTS & set(self._faults):
            self._delay()
        return self._table

    def _reachability(self, family: str, rules: dict[str, list[str]]) -> None:
        ip, pods, local = nft_family(family), pod_network(family), self._node.pod_cidr(family)
        faults = self._faults
        between = f"{ip} saddr {pods} {ip} daddr {pods}"
        if "same-node-drop" in faults:
            rules["forward"].append(f"{ip} saddr {local} {ip} daddr {local} drop")
        if "mtu-blackhole" in faults:
            too_big = (
                "icmp type destination-unreachable icmp code frag-needed"
                if family == IPV4
                else "icmpv6 type packet-too-big"
            )
            rules["output"].append(f"{too_big} drop")
            rules["forward"].append(f"{too_big} drop")
        if "big-packets-dropped" in faults:
            rules["forward"].append(f"{between} meta length > 1000 drop")
        if "bulk-corrupt" in faults:
            # The checksum of local traffic is computed last, so it will fit the changed byte.
            rules["forward"].append(f"{between} meta l4proto tcp meta length > 1200 @ih,4000,8 set 0x58")
        if "parallel-connections-limited" in faults:
            kind = "ipv4_addr" if family == IPV4 else "ipv6_addr"
            name = self._table.set(f"connections-{family}", f"type {kind} . {kind}; flags dynamic;")
            count = f"add @{name} {{ {ip} saddr . {ip} daddr ct count over {_LIMIT} }}"
            rules["forward"].append(f"ct state new meta l4proto tcp {between} {count} drop")
        if "node-to-pod-blocked" in faults:
            # The kubelet is root and has to stay able to probe, or no pod would ever be ready.
            rules["output"] += [
                f'oifname "{self._profile.tunnel}" {ip} daddr {pods} ct state new drop',
                f'oifname != "lo" meta skuid != 0 {ip} daddr {local} ct state new drop',
            ]
        if "nodeport-outside-blocked" in faults:
            strangers = ", ".join((outside_address(family), host_address(family)))
            match = f"{ip} saddr {{ {strangers} }} meta l4proto {{ tcp, udp }} th dport 30000-32767"
            rules["prerouting"].append(f"{match} drop")
        if "pod-to-node-blocked" in faults:
            opening = f"{ip} saddr {local} meta l4proto {{ tcp, udp }} ct state new"
            rules["input"].append(f"{opening} drop")
            others = ", ".join(n.underlay(family) for n in self._plan.others(self._node.name))
            if others:
                rules["forward"].append(f"{opening} {ip} daddr {{ {others} }} drop")

    def _delay(self) -> None:
        """Send chosen packets through the delay line and let them pass untracked when they come back."""
        mark = f"meta mark set meta mark | 0x{DELAY_MARK:x}"
        rules = [f'iifname "{DELAY_DEVICE}" return']
        ip, family = "ip", IPV4  # latency is measured over the first family
        pods, local = pod_network(family), self._node.pod_cidr(family)
        if "slow-overlay" in self._faults:
            rules.append(f'iifname != "{self._profile.tunnel}" ip daddr {pods} ip daddr != {local} {mark}')
        if not self._profile.bridged:
            if "slow-same-node" in self._faults:
                rules.append(f"{ip} saddr {local} {ip} daddr {local} {mark}")
            if "slow-service" in self._faults:
                rules.append(f"ct status dnat ct direction original ip saddr {pods} ip daddr {pods} {mark}")
        self._table.chain("delay", rules, "type filter hook prerouting priority dstnat + 5;")
        self._table.chain(
            "delayed", [f'iifname "{DELAY_DEVICE}" notrack'], "type filter hook prerouting priority raw;"
        )
