# SPDX-License-Identifier: Apache-2.0
"""Faults of enforcement: what a policy engine makes of policies that it understands, as data for the compiler.

Each table belongs to one place of the compiler, which looks nothing else up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.policy import SEMANTICS, BlockPeer, Policy, Rule, Semantics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytest_cniconformance.lab.dataplane.nft import Table

_PAIRS, _DENIED = "recent-pairs", "recent-denials"
_MEMORY = "30s"

DEVIATIONS = {
    "named-port-per-identity": {"named_ports_by_identity": True},
}
"""What one CNI does by design is a fault of another."""

CHOSEN: dict[str, Callable[..., Policy]] = {"last-policy-wins": max, "first-policy-wins": min}
"""Which of a pod's policies counts, by age, where only one does."""

UNPOLICED = {
    "udp-not-enforced": ("meta l4proto udp accept",),
    "dns-not-enforced": ("meta l4proto {{ tcp, udp }} th dport 53 accept",),
    "ipv6-not-enforced": ("meta nfproto ipv6 accept",),
    "same-node-not-enforced": ('iifname "{links}*" oifname "{links}*" accept',),
    "cross-node-not-enforced": ('iifname "{tunnel}" accept', 'oifname "{tunnel}" accept'),
    "pair-cache": (f"ip saddr . ip daddr @{_PAIRS} accept",),
}
"""Rules that let forwarded packets pass before any policy sees them."""

BEFORE_CONNTRACK = {
    # Established packets of both directions put the pair in, so that both may open connections.
    "pair-cache": (f"ct state established update @{_PAIRS} {{ ip saddr . ip daddr timeout {_MEMORY} }}",),
}

_FLOW = "ip saddr . ip daddr . meta l4proto . th dport"
AT_THE_POD = {
    "allow-lost-at-random": ("meta l4proto { tcp, udp } ct state new numgen random mod 4 != 0 drop",),
    "denial-remembered": (f"{_FLOW} @{_DENIED} drop",),
}
"""Rules that begin the chain of a pod that policies concern."""

BEFORE_THE_DENIAL = {
    "denial-remembered": (f"update @{_DENIED} {{ {_FLOW} timeout {_MEMORY} }}",),
}

_SETS = {
    "pair-cache": (_PAIRS, "type ipv4_addr . ipv4_addr; flags dynamic,timeout;"),
    "denial-remembered": (
        _DENIED,
        "type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic,timeout;",
    ),
}


def semantics_of(profile: str, faults: Collection[str]) -> Semantics | None:
    """Return how a profile understands policies, with the deviations that faults add; None: not at all."""
    semantics = SEMANTICS.get(profile)
    for name in DEVIATIONS.keys() & set(faults):
        semantics = semantics and replace(semantics, **DEVIATIONS[name])
    return semantics


def rules_of(table: Mapping[str, tuple[str, ...]], faults: Iterable[str], **names: str) -> list[str]:
    """Return the rules that the faults in force have in a table."""
    found = [rule for name in sorted(table.keys() & set(faults)) for rule in table[name]]
    return [rule.format(**names) for rule in found] if names else found


def add_sets(table: Table, faults: Collection[str]) -> None:
    """Add what those rules remember packets in."""
    for name in sorted(_SETS.keys() & set(faults)):
        table.set(*_SETS[name])


def overdone(policies: list[Policy], faults: Collection[str]) -> list[Policy]:
    """Return the policies as an engine with these faults compiles them."""
    for name in OVERDONE.keys() & set(faults):
        policies = [OVERDONE[name](policy) for policy in policies]
    return policies


def _except_denies(policy: Policy) -> Policy:
    """Deny what an ``except`` cuts out, whatever other rules and policies say."""

    def rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        blocks = [peer for rule in rules for peer in rule.peers or () if isinstance(peer, BlockPeer)]
        cuts = tuple(BlockPeer(cidr) for block in blocks for cidr in block.excepts)
        return (*rules, Rule(cuts, None, deny=True)) if cuts else rules

    return replace(policy, ingress=rules(policy.ingress), egress=rules(policy.egress))


def _subject_everywhere(policy: Policy) -> Policy:
    return replace(policy, subject=replace(policy.subject, namespace=None))


OVERDONE: dict[str, Callable[[Policy], Policy]] = {
    "except-as-deny": _except_denies,
    "subject-not-namespaced": _subject_everywhere,
}
"""By the name of the fault."""

ELSEWHERE = frozenset(
    {
        "policies-ignored",
        "second-pod-not-isolated",
        "judged-before-dnat",
        "replies-dropped",
        "udp-replies-dropped",
    }
    | {"node-blocked", "self-blocked", "neighbours-blocked"}
)
"""Faults that are a line of the compiler itself, or of the node's agent."""
