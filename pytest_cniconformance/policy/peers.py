# SPDX-License-Identifier: Apache-2.0
"""The peers of a rule, compiled to the masks of the pods that they match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypedDict

from pytest_cniconformance.policy.addresses import FAMILIES, Address, IpBlock
from pytest_cniconformance.policy.selectors import LabelSelector

if TYPE_CHECKING:
    from pytest_cniconformance.policy.population import Population


IPBlock = TypedDict("IPBlock", {"cidr": str, "except": "list[str] | None"}, total=False)
"""``networking.k8s.io/v1.IPBlock``; written as a call because ``except`` is a keyword."""


class NetworkPolicyPeer(TypedDict, total=False):
    """``networking.k8s.io/v1.NetworkPolicyPeer``."""

    podSelector: LabelSelector | None
    namespaceSelector: LabelSelector | None
    ipBlock: IPBlock | None


class Match(IntEnum):
    """Whether a peer or a policy applies; MAYBE is what the API leaves to the implementation."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of ``from`` or ``to``.

    ``sure`` are the pods that it matches by the letter of the API. ``maybe`` are, by family, those of which
    the API says nothing binding: pods on the host network that a selector matches (NP-HOST-1), and pods
    whose address an ipBlock covers (NP-IPB-3, NP-IPB-4).
    """

    sure: int = 0
    maybe: Mapping[str, int] = field(default_factory=dict)
    block: IpBlock | None = None
    text: str = ""
    pods: LabelSelector | None = None
    namespaces: LabelSelector | None = None

    def match_pod(self, number: int, family: str) -> Match:
        """Whether the peer covers the pod of this number, for traffic of this family."""
        if self.sure >> number & 1:
            return Match.YES
        return Match.MAYBE if self.maybe.get(family, 0) >> number & 1 else Match.NO

    def match_address(self, address: Address, *, of_node: bool) -> Match:
        """Whether the peer covers an address that is no pod's. Selectors match pods only (NP-EMP-6, NP-SEL-3)."""
        if self.block is None or address not in self.block:
            return Match.NO
        return Match.MAYBE if of_node else Match.YES


def compile_peer(peer: NetworkPolicyPeer, namespace: str, population: Population) -> Peer:
    """Compile a peer of a policy in ``namespace``.

    A podSelector alone is bound to the policy's namespace; with a namespaceSelector both must hold.

    Raises:
        UsageError: an unknown operator or a malformed CIDR. (See ``validate`` for everything else.)
    """
    block = peer.get("ipBlock")
    if block is not None:
        return _block_peer(IpBlock.parse(block["cidr"], block.get("except") or ()), population)
    pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
    labels = population.namespace_labels
    mask = population.in_namespace(namespace) if namespaces is None else labels.select(namespaces)
    if pods is not None:
        mask &= population.pod_labels.select(pods)
    on_host = mask & population.host_network
    text = _selector_text(pods, namespaces)
    return Peer(mask & ~on_host, dict.fromkeys(FAMILIES, on_host), None, text, pods, namespaces)


def _block_peer(block: IpBlock, population: Population) -> Peer:
    covered = population.addresses[block.family].select(block)
    # A pod without any address yet (a manifest, say) may get one inside the block.
    return Peer(0, {block.family: covered | population.unaddressed}, block, f"ipBlock {block}")


def _selector_text(pods: LabelSelector | None, namespaces: LabelSelector | None) -> str:
    named = (("namespaces", namespaces), ("pods", pods))
    return " and ".join(f"{what} {selector_text(s)}" for what, s in named if s is not None)


def selector_text(selector: LabelSelector) -> str:
    """Return a selector in the notation of ``kubectl -l``, ``(all)`` when it is empty."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }.get(expression["operator"], f"{key} {expression['operator']}")
        )
    return ",".join(parts) or "(all)"
