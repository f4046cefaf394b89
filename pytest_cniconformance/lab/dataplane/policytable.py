# SPDX-License-Identifier: Apache-2.0
"""The policy engine of one node: which chains a packet from or to a local pod goes through.

Two base chains at the forward hook, egress before ingress: ``accept`` in one ends only that one, so a packet has to
be let through by both. A pod's chain jumps to the chains of the policies that select it and ends in ``drop``.
Pods that nothing isolates are in neither map. Packets of the node itself to its pods do not pass the forward hook:
they are never policed, as the API demands for the kubelet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses, Plan
from pytest_cniconformance.lab.dataplane.nft import Table, chain_name
from pytest_cniconformance.lab.dataplane.policy import EGRESS, INGRESS, Policy, Semantics
from pytest_cniconformance.lab.dataplane.policyfaults import (
    AT_THE_POD,
    BEFORE_CONNTRACK,
    BEFORE_THE_DENIAL,
    CHOSEN,
    UNPOLICED,
    add_sets,
    rules_of,
)
from pytest_cniconformance.lab.dataplane.policyrules import RuleWriter
from pytest_cniconformance.lab.dataplane.view import Pod, View

if TYPE_CHECKING:
    from collections.abc import Sequence


TPROXY_MARK = 0x200
EGRESS_CHECKED_MARK = 0x400
PROXIED_EGRESS_MARK = 0x800
INGRESS_PROXY_PORT = 15006
EGRESS_PROXY_PORT = 15007
DELAY_DEVICE = "slow0"

_NEIGHBOUR_DISCOVERY = (
    "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept"
)


@dataclass(frozen=True)
class Redirect:
    """HTTP rules for one pod: what the proxy has to decide."""

    pod: Pod
    direction: str
    policies: tuple[Policy, ...]


@dataclass
class PolicyTable:
    """Compiles the policies for one node."""

    view: View
    plan: Plan
    node: NodeAddresses
    semantics: Semantics
    faults: Collection[str]
    interface: Callable[[Pod], str]
    tunnel: str
    interface_prefix: str
    table: Table = field(default_factory=lambda: Table("inet cni-policy"))
    redirects: list[Redirect] = field(default_factory=list)
    isolated: set[str] = field(default_factory=set)
    """Keys of local pods that some policy isolates for ingress."""

    def __post_init__(self) -> None:
        self.writer = RuleWriter(
            self.table,
            self.view,
            self.plan,
            self.node,
            self.semantics,
            before_dnat="judged-before-dnat" in self.faults,
        )
        self._written: set[str] = set()

    def build(self, policies: Sequence[Policy]) -> Table:
        """Compile; the table is empty if no policy concerns a pod of this node."""
        jumps: dict[str, dict[str, str]] = {INGRESS: {}, EGRESS: {}}
        for pod in self.view.pods:
            if pod.node != self.node.name or (pod.young and "startup-leak" in self.faults):
                continue
            own = [p for p in policies if pod in self._subjects(p)]
            for direction, targets in jumps.items():
                applied = [p for p in own if p.concerns(direction)]
                if not applied:
                    continue
                chain = self._pod_chain(pod, direction, applied)
                targets[f'"{self.interface(pod)}"'] = f"jump {chain}"
        if self.table.chains:
            self._base_chains(jumps)
        return self.table

    def _subjects(self, policy: Policy) -> Sequence[Pod]:
        subjects = self.view.members(policy.subject)
        if "second-pod-not-isolated" in self.faults:
            return [pod for pod in subjects if pod.node == self.node.name][:1]
        return subjects

    def _pod_chain(self, pod: Pod, direction: str, policies: list[Policy]) -> str:
        for name in CHOSEN.keys() & set(self.faults):
            policies = [CHOSEN[name](policies, key=lambda policy: policy.order)]
        isolated = any(direction in policy.isolates for policy in policies)
        rules = []
        if self.semantics.skips_own_service:
            other_end = "oifname" if direction == EGRESS else "iifname"
            rules.append(f'{other_end} "{self.interface(pod)}" accept')
        rules += rules_of(AT_THE_POD, self.faults)
        # Denies of any policy come before allows of any other.
        locked_out = pod.young and "startup-lockout" in self.faults
        for deny in (True,) if locked_out else (True, False):
            rules += [
                f"jump {self._policy_chain(policy, direction, deny=deny)}"
                for policy in policies
                if any(rule.deny == deny for rule in policy.rules(direction))
            ]
        if isolated:
            rules += [*rules_of(BEFORE_THE_DENIAL, self.faults), "drop"]
            if direction == INGRESS:
                self.isolated.add(pod.key)
        if any(rule.http is not None for policy in policies for rule in policy.rules(direction)):
            self.redirects.append(Redirect(pod, direction, tuple(policies)))
        return self.table.chain(chain_name("in" if direction == INGRESS else "eg", pod.key), rules)

    def _policy_chain(self, policy: Policy, direction: str, *, deny: bool) -> str:
        prefix = f"{'deny' if deny else 'pol'}-{'in' if direction == INGRESS else 'eg'}"
        name = chain_name(prefix, policy.key)
        if name in self._written:
            return name
        self._written.add(name)
        subjects = self.view.members(policy.subject)
        verdict = "drop" if deny else "accept"
        rules = [
            f"{match} {verdict}".strip()
            for rule in policy.rules(direction)
            # Ports with HTTP rules are reached through the proxy only: without it they stay closed.
            if rule.deny == deny and rule.http is None
            for match in self.writer.write(rule, direction, subjects)
        ]
        return self.table.chain(name, rules)

    def policy_chain(self, policy: Policy, direction: str, *, deny: bool) -> str | None:
        """Name the chain of a policy's layer 3 and 4 rules, if there is one."""
        name = chain_name(f"{'deny' if deny else 'pol'}-{'in' if direction == INGRESS else 'eg'}", policy.key)
        return name if name in self._written else None

    def _base_chains(self, jumps: dict[str, dict[str, str]]) -> None:
        table = self.table
        table.map("egress-of", "type ifname : verdict;", jumps[EGRESS])
        table.map("ingress-of", "type ifname : verdict;", jumps[INGRESS])
        add_sets(table, self.faults)
        state = rules_of(BEFORE_CONNTRACK, self.faults) + self._state_rules()
        always = self._unpoliced_paths()
        neighbours = [] if "neighbours-blocked" in self.faults else [_NEIGHBOUR_DISCOVERY]
        table.chain(
            "forward-egress",
            [*state, *always, "iifname vmap @egress-of"],
            "type filter hook forward priority filter;",
        )
        table.chain(
            "forward-ingress",
            [*state, *always, "oifname vmap @ingress-of"],
            "type filter hook forward priority filter + 1;",
        )
        table.chain(
            "to-node",
            [
                "ct state established,related accept",
                *neighbours,
                f"meta mark & 0x{EGRESS_CHECKED_MARK:x} != 0 accept",
                "iifname vmap @egress-of",
            ],
            "type filter hook input priority filter;",
        )
        if "node-blocked" in self.faults:
            rules = ["ct state established,related accept", *neighbours, "oifname vmap @ingress-of"]
        else:
            # What the proxy sends on behalf of a local pod's egress is that pod's traffic, not the node's.
            rules = [
                "ct direction reply accept",
                f"meta mark & 0x{PROXIED_EGRESS_MARK:x} != 0 oifname vmap @ingress-of",
            ]
        table.chain("from-node", rules, "type filter hook output priority filter;")

    def _state_rules(self) -> list[str]:
        if "replies-dropped" in self.faults:
            return ["ct state related accept"]
        tracked = "meta l4proto != udp " if "udp-replies-dropped" in self.faults else ""
        if self.semantics.keeps_established:
            return [f"{tracked}ct state established,related accept", "ct state invalid drop"]
        # Conntrack vouches for replies only, so a tightened policy cuts connections at their next packet.
        return [
            "ct state related accept",
            f"{tracked}ct state established ct direction reply accept",
            "ct state invalid drop",
        ]

    def _unpoliced_paths(self) -> list[str]:
        rules = rules_of(UNPOLICED, self.faults, links=self.interface_prefix, tunnel=self.tunnel)
        if {"slow-same-node", "slow-service", "slow-overlay"} & set(self.faults):
            # The delay line's second pass is untracked; only what opens a connection can be judged there.
            rules.append(f'iifname "{DELAY_DEVICE}" tcp flags & (syn | ack) != syn accept')
        return rules
