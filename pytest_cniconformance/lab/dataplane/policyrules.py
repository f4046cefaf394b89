# SPDX-License-Identifier: Apache-2.0
"""One rule of a policy as nftables rules: who (sets of addresses) times what (ports)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane import ranges
from pytest_cniconformance.lab.dataplane.addressing import (
    IPV4,
    Plan,
    family_of,
    host_address,
    nft_family,
    pod_network,
)
from pytest_cniconformance.lab.dataplane.nft import Table, short
from pytest_cniconformance.lab.dataplane.policy import (
    INGRESS,
    BlockPeer,
    EntityPeer,
    Peer,
    PodPeer,
    Port,
    Rule,
    Semantics,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses
    from pytest_cniconformance.lab.dataplane.view import Pod, View


class RuleWriter:
    """Writes rules for one node's table and puts the address sets that they need into it.

    Sets of pods are named after the selector, so that policies share them and a new pod is one element more.
    """

    def __init__(
        self,
        table: Table,
        view: View,
        plan: Plan,
        node: NodeAddresses,
        semantics: Semantics,
        *,
        before_dnat: bool = False,
    ) -> None:
        self._table = table
        self._view = view
        self._plan = plan
        self._node = node
        self._semantics = semantics
        # A fault: destinations are judged as the client wrote them, not as the backend that a Service stands for.
        self._before_dnat = before_dnat

    def write(self, rule: Rule, direction: str, subjects: Sequence[Pod]) -> list[str]:
        """Give the matches of a rule, without a verdict."""
        lines = []
        for who in self._who(rule.peers, direction):
            lines += [f"{who} {what}".strip() for what in self._numbered(rule.ports)]
        lines += self._named(rule, direction, subjects)
        return lines

    def addresses(self, peers: tuple[Peer, ...] | None) -> list[str] | None:
        """Give peers as CIDRs and ranges for a user of addresses other than nftables; None for everyone."""
        if peers is None:
            return None
        found: list[str] = []
        for peer in peers:
            if isinstance(peer, PodPeer):
                found += [ip for pod in self._view.members(peer) for ip in pod.ips]
            else:
                for family in self._plan.families:
                    found += ranges.to_cidrs(self._ranges(peer, family), family)
        return found

    # -- who ------------------------------------------------------------------------------------------------

    def _who(self, peers: tuple[Peer, ...] | None, direction: str) -> Iterator[str]:
        if peers is None:
            yield ""
            return
        side = "saddr" if direction == INGRESS else "daddr"
        original = "ct original " if self._before_dnat and direction != INGRESS else ""
        for peer in dict.fromkeys(peers):
            if isinstance(peer, EntityPeer) and peer.name == "all":
                yield ""
                continue
            for family in self._plan.families:
                yield f"{original}{nft_family(family)} {side} @{self._peer_set(peer, family)}"

    def _peer_set(self, peer: Peer, family: str) -> str:
        kind = "ipv4_addr" if family == IPV4 else "ipv6_addr"
        tag = "4" if family == IPV4 else "6"
        if isinstance(peer, PodPeer):
            members = (ip for pod in self._view.members(peer) for ip in pod.ips if family_of(ip) == family)
            return self._table.set(f"pods{tag}-{short(peer.key)}", f"type {kind};", members)
        elements = ranges.to_nft(self._ranges(peer, family), family)
        # The name stands for the content: an interval set is replaced as a whole, never edited.
        name = f"nets{tag}-{short(*elements)}"
        return self._table.set(name, f"type {kind}; flags interval;", elements)

    def _ranges(self, peer: BlockPeer | EntityPeer, family: str) -> list[ranges.Range]:
        if isinstance(peer, EntityPeer):
            return self._entity(peer.name, family)
        block = ranges.subtract(ranges.of_family([peer.cidr], family), ranges.of_family(peer.excepts, family))
        if self._semantics.blocks_match_world_only:
            return ranges.subtract(block, self._cluster(family))
        return block

    def _entity(self, name: str, family: str) -> list[ranges.Range]:
        own = self._node_addresses([self._node], family)
        if name == "all":
            return [ranges.everything(family)]
        if name == "cluster":
            return ranges.union(self._cluster(family))
        if name == "world" or name == f"world-{family}":
            return ranges.subtract([ranges.everything(family)], self._cluster(family))
        if name == "host":
            return ranges.union(own)
        if name == "remote-node":
            return ranges.union(self._node_addresses(self._plan.others(self._node.name), family))
        if name == "kube-apiserver":
            return ranges.of_family([host_address(family)], family)
        return []

    def _cluster(self, family: str) -> list[ranges.Range]:
        pods = ranges.of_family([str(pod_network(family))], family)
        return pods + self._node_addresses(self._plan.nodes, family)

    @staticmethod
    def _node_addresses(nodes: Iterable[NodeAddresses], family: str) -> list[ranges.Range]:
        return ranges.of_family(
            [ip for n in nodes for ip in (n.underlay(family), n.gateway(family), n.vtep(family))], family
        )

    # -- what -----------------------------------------------------------------------------------------------

    def _numbered(self, ports: tuple[Port, ...] | None) -> list[str]:
        if ports is None:
            return [""]
        matches = []
        for protocol in dict.fromkeys(port.protocol for port in ports):
            entries = [port for port in ports if port.protocol == protocol and port.name is None]
            if any(port.low is None for port in entries):
                matches.append(f"meta l4proto {protocol}")
            elif entries:
                spans = ranges.union((p.low or 0, p.high or p.low or 0) for p in entries)
                text = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
                port = (
                    f"meta l4proto {protocol} ct original proto-dst"
                    if self._before_dnat
                    else f"{protocol} dport"
                )
                matches.append(f"{port} {{ {text} }}")
        return matches

    # -- named ports ----------------------------------------------------------------------------------------

    def _named(self, rule: Rule, direction: str, subjects: Sequence[Pod]) -> list[str]:
        """Resolve names per destination pod: (address, protocol, number) triples instead of a port match."""
        named = [port for port in rule.ports or () if port.name is not None]
        if not named:
            return []
        lines = []
        for family in self._plan.families:
            if direction == INGRESS:
                targets = self._triples(named, subjects, family)
                sources = list(self._who(rule.peers, direction))
                lines += [f"{who} {targets}".strip() for who in sources if _fits(who, family)]
            else:
                pods = self._destinations(rule.peers, family)
                if self._semantics.named_ports_by_identity:
                    pods = _agreeing(pods, named)
                lines.append(self._triples(named, pods, family))
        return lines

    def _triples(self, ports: Sequence[Port], pods: Iterable[Pod], family: str) -> str:
        elements = {
            f"{ip} . {port.protocol} . {number}"
            for pod in pods
            for port in ports
            if (number := pod.named(port.name or "", port.protocol)) is not None
            for ip in pod.ips
            if family_of(ip) == family
        }
        kind = "ipv4_addr" if family == IPV4 else "ipv6_addr"
        tag = "4" if family == IPV4 else "6"
        name = f"named{tag}-{short(*sorted(elements))}"
        self._table.set(name, f"type {kind} . inet_proto . inet_service;", elements)
        return f"{nft_family(family)} daddr . meta l4proto . th dport @{name}"

    def _destinations(self, peers: tuple[Peer, ...] | None, family: str) -> list[Pod]:
        if peers is None:
            return list(self._view.pods)
        chosen: dict[str, Pod] = {}
        for peer in peers:
            if isinstance(peer, PodPeer):
                chosen.update((pod.key, pod) for pod in self._view.members(peer))
                continue
            spans = self._ranges(peer, family)
            for pod in self._view.pods:
                inside = (ranges.of_cidr(ip)[0] for ip in pod.ips if family_of(ip) == family)
                if any(low <= value <= high for value in inside for low, high in spans):
                    chosen[pod.key] = pod
        return list(chosen.values())


def _fits(who: str, family: str) -> bool:
    return not who or who.split()[0] == nft_family(family)


def _agreeing(pods: Iterable[Pod], ports: Sequence[Port]) -> list[Pod]:
    """Leave out identities (equal labels) whose pods give different numbers to a name."""
    groups: dict[tuple[tuple[str, str], ...], list[Pod]] = {}
    for pod in pods:
        groups.setdefault(tuple(sorted(pod.identity.items())), []).append(pod)
    return [
        pod
        for group in groups.values()
        if all(len({pod.named(p.name or "", p.protocol) for pod in group}) == 1 for p in ports)
        for pod in group
    ]
