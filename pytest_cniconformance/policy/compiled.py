# SPDX-License-Identifier: Apache-2.0
"""A NetworkPolicy ready for evaluation: defaults applied as the API server does, selectors turned to masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pytest_cniconformance.policy.peers import Match, Peer, compile_peer
from pytest_cniconformance.policy.population import Population
from pytest_cniconformance.policy.ports import Ports
from pytest_cniconformance.policy.selectors import LabelSelector


class Direction(StrEnum):
    """Seen from the pod that a policy selects."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Rule:
    """One ingress or egress rule: any of its peers on any of its ports. ``peers`` None means everyone."""

    number: int
    peers: tuple[Peer, ...] | None
    ports: Ports


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, the pods that it selects, and its rules.

    A direction that is not among the policy types has ``None`` instead of rules: it isolates nothing,
    whatever its section says (NP-DEF-2). ``maybe`` are selected pods on the host network (NP-HOST-1).
    """

    name: str
    namespace: str
    selector: LabelSelector
    sure: int
    maybe: int
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """Return the rules of a direction, None if the policy does not concern it."""
        return self.ingress if direction is Direction.INGRESS else self.egress

    def selects(self, number: int) -> Match:
        """Whether the policy selects the pod of this number."""
        if self.sure >> number & 1:
            return Match.YES
        return Match.MAYBE if self.maybe >> number & 1 else Match.NO


def policy_types(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the policy types in force: those listed; if none are, Ingress, and Egress when it has a rule.

    Source: ``SetDefaults_NetworkPolicy`` in pkg/apis/networking/v1/defaults.go.
    """
    listed: Sequence[str] = spec.get("policyTypes") or ()
    if listed:
        return tuple(listed)
    return ("Ingress", "Egress") if spec.get("egress") else ("Ingress",)


def compile_policy(obj: Mapping[str, Any], population: Population) -> Policy:
    """Compile a ``networking.k8s.io/v1.NetworkPolicy`` against the pods of a cluster.

    Raises:
        UsageError: a selector or a CIDR cannot be evaluated.
    """
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    namespace = str(metadata.get("namespace") or "default")
    selector: LabelSelector = spec.get("podSelector") or LabelSelector()
    selected = population.in_namespace(namespace) & population.pod_labels.select(selector)
    types = policy_types(spec)

    def rules(section: str, side: str) -> tuple[Rule, ...] | None:
        if section.capitalize() not in types:
            return None
        return tuple(
            Rule(number, _peers(rule.get(side), namespace, population), Ports.parse(rule.get("ports")))
            # A null item decodes to the empty rule, which allows everything.
            for number, rule in enumerate(entry or {} for entry in spec.get(section) or ())
        )

    return Policy(
        f"{namespace}/{metadata['name']}",
        namespace,
        selector,
        selected & ~population.host_network,
        selected & population.host_network,
        rules("ingress", "from"),
        rules("egress", "to"),
    )


def _peers(entries: Sequence[Any] | None, namespace: str, population: Population) -> tuple[Peer, ...] | None:
    if not entries:
        return None
    return tuple(compile_peer(entry, namespace, population) for entry in entries)
