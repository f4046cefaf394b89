# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy (networking.k8s.io/v1) reduced to the common form, written from the API's documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.policy import (
    EGRESS,
    INGRESS,
    BlockPeer,
    Peer,
    PodPeer,
    Policy,
    Port,
    Rule,
    Semantics,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj


def parse(obj: Obj, semantics: Semantics) -> Policy:
    """Reduce one NetworkPolicy."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    sections = {INGRESS: spec.get("ingress") or [], EGRESS: spec.get("egress") or []}
    types = spec.get("policyTypes")
    if types is None:
        types = ["Ingress", *(["Egress"] if sections[EGRESS] else [])]
    isolates = {kind.lower() for kind in types}
    if semantics.unlisted_sections_count:
        isolates |= {side for side, rules in sections.items() if rules}
    namespace = meta["namespace"]
    return Policy(
        key=f"np/{namespace}/{meta['name']}",
        order=order(meta),
        subject=PodPeer.of(namespace=namespace, pods=spec.get("podSelector") or {}),
        isolates=frozenset(isolates),
        ingress=_rules(sections[INGRESS], "from", namespace) if INGRESS in isolates else (),
        egress=_rules(sections[EGRESS], "to", namespace) if EGRESS in isolates else (),
    )


def order(meta: dict[str, Any]) -> tuple[str, int, str]:
    """Age of an object, oldest first (used only by faults that let one policy win)."""
    version = str(meta.get("resourceVersion") or "0")
    return (
        str(meta.get("creationTimestamp") or ""),
        int(version) if version.isdigit() else 0,
        f"{meta.get('namespace')}/{meta['name']}",
    )


def _rules(rules: Iterable[dict[str, Any]], side: str, namespace: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(_peers(rule.get(side) or [], namespace), _ports(rule.get("ports") or [])) for rule in rules
    )


def _peers(peers: Iterable[dict[str, Any]], namespace: str) -> tuple[Peer, ...] | None:
    result: list[Peer] = []
    for peer in peers:
        block = peer.get("ipBlock")
        if block:
            result.append(BlockPeer(block["cidr"], tuple(block.get("except") or ())))
            continue
        namespaces = peer.get("namespaceSelector")
        # Without a namespaceSelector the policy's own namespace is meant.
        home = namespace if namespaces is None else None
        result.append(PodPeer.of(namespace=home, namespaces=namespaces, pods=peer.get("podSelector")))
    return tuple(result) or None


def _ports(ports: Iterable[dict[str, Any]]) -> tuple[Port, ...] | None:
    result = []
    for entry in ports:
        protocol = (entry.get("protocol") or "TCP").lower()
        port = entry.get("port")
        if port is None:
            result.append(Port(protocol))
        elif isinstance(port, str):
            result.append(Port(protocol, name=port))
        else:
            result.append(Port(protocol, low=int(port), high=int(entry.get("endPort") or port)))
    return tuple(result) or None
