# SPDX-License-Identifier: Apache-2.0
"""The sentences that explain a decision, for named ends as for marks that stand for many.

The ids in them are the requirements of the catalogue that leave a case open or settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_cniconformance.policy.compiled import Direction, Policy, Rule

L4 = ("TCP", "UDP", "SCTP")
"""The protocols that NetworkPolicy is defined for."""

NAMED, NEAR_MISSES, DOUBTS = 10, 3, 3
"""So many isolating policies, rules that almost match and rules that may match are named; ``explain`` has all."""

HOST_NETWORK = "the API leaves open what policies mean for pods on the host network (NP-HOST-1)"
REMOTE_NODE = "what a remote node's traffic looks like to the policy is left open (NP-NODE-2)"
OWN_NODE = "whether a pod may always reach its own node is left open (NP-NODE-3)"
HAIRPIN = "whether policies apply to a pod that reaches itself through a Service is left open (NP-SELF-2)"


class Sentences(NamedTuple):
    """What there is to say of one direction: of ``me``, whom policies isolate, and the ``other`` end."""

    me: str
    other: str
    direction: Direction
    port: int
    protocol: str

    @property
    def flow(self) -> str:
        """The port and protocol that are asked for."""
        return f"{self.port}/{self.protocol}"

    def free(self) -> str:
        """Say that no policy selects the pod."""
        return f"no policy isolates {self.me} for {self.direction}"

    def local(self) -> str:
        """Say that the source is the pod's own node."""
        return f"{self.other} is on the node of {self.me}, whose traffic always enters (NP-NODE-1)"

    def place(self, policy: Policy, rule: Rule, peer: int | None) -> str:
        """Name a rule, and a peer of it."""
        return f"{policy.name} {self.direction} rule {rule.number}" + (
            "" if peer is None else f", peer {peer}"
        )

    def allowed(self, place: str) -> str:
        """Say that a rule matches."""
        return f"{place} matches {self.other} on {self.flow}"

    def doubtful(self, place: str, why: str) -> str:
        """Say that a rule matches if the implementation reads the API so."""
        return f"{place} may match {self.other} on {self.flow}: {why}"

    def near(self, place: str, rule: Rule) -> str:
        """Say that a rule matches the other end and not the port."""
        return f"{place} matches {self.other} but not {self.flow} (only {rule.ports})"

    def denied(self, policies: Sequence[Policy], near: Sequence[str]) -> str:
        """Say that no rule matches."""
        verb = "isolates" if len(policies) == 1 else "isolate"
        isolated = f"{_names(policies)} {verb} {self.me} for {self.direction}"
        if not near:
            return f"{isolated}; no rule matches {self.other}"
        return f"{isolated}; no rule matches {self.other} on {self.flow}; " + "; ".join(near[:NEAR_MISSES])

    def undefined(self, policies: Sequence[Policy]) -> str:
        """Say that NetworkPolicy is not defined for the protocol."""
        what = f"what {_names(policies)} mean for {self.protocol}"
        return f"{what}, which is none of {', '.join(L4)}, is left open (NP-ICMP-1)"


def _names(policies: Sequence[Policy]) -> str:
    more = f" and {len(policies) - NAMED} more" if len(policies) > NAMED else ""
    return ", ".join(policy.name for policy in policies[:NAMED]) + more


def block_covers(block: str, *, host_network: bool) -> str:
    """Say that an ipBlock covers the address of a pod."""
    if host_network:
        return f"{block} covers a node's address, which the API leaves open (NP-IPB-4)"
    return f"{block} covers a pod's address, which the API leaves open (NP-IPB-3)"


def block_may_cover(block: str, pod: str) -> str:
    """Say that an ipBlock may come to cover the address of a pod that has none yet."""
    return f"{pod} has no address yet, and {block} for pods is left open (NP-IPB-3)"
