# SPDX-License-Identifier: Apache-2.0
"""What all policy kinds are reduced to before they become nftables rules.

A policy selects pods and, per direction, isolates them and adds rules; a rule names peers and ports.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.selectors import Selector, canonical, matches

if TYPE_CHECKING:
    from pytest_cniconformance.lab.dataplane.view import Pod, View

INGRESS = "ingress"
EGRESS = "egress"


@dataclass(frozen=True)
class Semantics:
    """In what the CNIs differ, where the API leaves them room or where one of them deviates."""

    keeps_established: bool
    """Established connections survive a tightened policy (Calico); Cilium re-decides every packet."""
    blocks_match_world_only: bool
    """ipBlock never matches pods or nodes (Cilium); elsewhere it matches any address."""
    unlisted_sections_count: bool
    """A non-empty rule section isolates although policyTypes does not list it (cilium#48703)."""
    skips_own_service: bool
    """A pod that reaches itself through its Service is not policed (Cilium)."""
    named_ports_by_identity: bool
    """Egress to a named port is resolved per identity and skipped where pods disagree (Cilium)."""


SEMANTICS = {
    "calico": Semantics(True, False, False, False, False),
    "cilium": Semantics(False, True, True, True, True),
}


@dataclass(frozen=True)
class Port:
    """One port entry. ``low`` None: all ports of the protocol; ``name``: a named container port."""

    protocol: str
    low: int | None = None
    high: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class PodPeer:
    """Pods chosen by labels.

    ``identity`` selects on the labels of a Cilium identity (pod, namespace and service-account labels in one
    set); the other two are those of NetworkPolicy. ``namespace`` confines to one namespace.
    """

    namespace: str | None = None
    namespaces: str = "null"
    pods: str = "null"
    identity: str = "null"

    @classmethod
    def of(
        cls,
        *,
        namespace: str | None = None,
        namespaces: Selector | None = None,
        pods: Selector | None = None,
        identity: Selector | None = None,
    ) -> PodPeer:
        """Freeze selectors into a hashable peer."""
        return cls(namespace, canonical(namespaces), canonical(pods), canonical(identity))

    @property
    def key(self) -> str:
        """The same text for the same choice."""
        return "|".join((self.namespace or "*", self.namespaces, self.pods, self.identity))

    def members(self, view: View) -> tuple[Pod, ...]:
        """All pods chosen, in the order of the view."""
        namespaces, pods, identity = (json.loads(s) for s in (self.namespaces, self.pods, self.identity))
        chosen = []
        for pod in view.pods:
            if self.namespace is not None and pod.namespace != self.namespace:
                continue
            if namespaces is not None and not matches(
                namespaces, view.namespace_labels.get(pod.namespace, {})
            ):
                continue
            if pods is not None and not matches(pods, pod.labels):
                continue
            if identity is not None and not matches(identity, pod.identity):
                continue
            chosen.append(pod)
        return tuple(chosen)


@dataclass(frozen=True)
class BlockPeer:
    """An address range with exceptions."""

    cidr: str
    excepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntityPeer:
    """A Cilium entity: all, world, cluster, host, remote-node, kube-apiserver or none."""

    name: str


Peer = PodPeer | BlockPeer | EntityPeer


@dataclass(frozen=True)
class HttpRule:
    """One HTTP rule: all given parts must match, as regular expressions over the whole text."""

    method: str = ""
    path: str = ""
    host: str = ""
    headers: tuple[tuple[str, str | None], ...] = ()
    """Name and exact value; value None asks for presence only."""


@dataclass(frozen=True)
class Rule:
    """Peers (None: all) times ports (None: all, of every protocol), and what HTTP may pass (None: unchecked)."""

    peers: tuple[Peer, ...] | None
    ports: tuple[Port, ...] | None
    http: tuple[HttpRule, ...] | None = None
    deny: bool = False


@dataclass(frozen=True)
class Policy:
    """One policy object, or one of the specs of a CiliumNetworkPolicy."""

    key: str
    order: tuple[str, int, str]
    subject: PodPeer
    isolates: frozenset[str]
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """Return the rules of one direction."""
        return self.ingress if direction == INGRESS else self.egress

    def concerns(self, direction: str) -> bool:
        """Whether the policy has any say in a direction."""
        return direction in self.isolates or bool(self.rules(direction))
