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
    from collections.abc import Collection, Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj


def parse(obj: Obj, semantics: Semantics, faults: Collection[str]) -> Policy:
    """Reduce one NetworkPolicy."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    ingress, egress = spec.get("ingress") or [], spec.get("egress") or []
    types = spec.get("policyTypes") or [t for t, on in (("Ingress", True), ("Egress", bool(egress))) if on]
    isolates = {INGRESS if kind == "Ingress" else EGRESS for kind in types}
    if semantics.unlisted_sections_count:
        isolates |= {side for side, rules in ((INGRESS, ingress), (EGRESS, egress)) if rules}
    if "egress-not-enforced" in faults:
        isolates.discard(EGRESS)
    namespace = meta["namespace"]
    return Policy(
        key=f"np/{namespace}/{meta['name']}",
        order=order(meta),
        subject=PodPeer.of(namespace=namespace, pods=spec.get("podSelector") or {}),
        isolates=frozenset(isolates),
        ingress=_rules(ingress, "from", namespace, faults) if INGRESS in isolates else (),
        egress=_rules(egress, "to", namespace, faults) if EGRESS in isolates else (),
    )


def order(meta: dict[str, Any]) -> tuple[str, int, str]:
    """Age of an object, oldest first (used only by faults that let one policy win)."""
    version = str(meta.get("resourceVersion") or "0")
    return (
        str(meta.get("creationTimestamp") or ""),
        int(version) if version.isdigit() else 0,
        f"{meta.get('namespace')}/{meta['name']}",
    )


def _rules(
    rules: Iterable[dict[str, Any]], side: str, namespace: str, faults: Collection[str]
) -> tuple[Rule, ...]:
    if "allow-rules-dropped" in faults:
        return ()
    parsed = tuple(
        Rule(_peers(rule.get(side) or [], namespace, faults), _ports(rule.get("ports") or [], faults))
        for rule in rules
    )
    return _crossed(parsed) if "cross-rule" in faults else parsed


def _crossed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Mix the peers of every rule with the ports of every rule."""
    if len(rules) < 2:
        return rules
    peers = None if any(r.peers is None for r in rules) else tuple(p for r in rules for p in r.peers or ())
    ports = None if any(r.ports is None for r in rules) else tuple(p for r in rules for p in r.ports or ())
    return (Rule(peers, ports),)


def _peers(
    peers: Iterable[dict[str, Any]], namespace: str, faults: Collection[str]
) -> tuple[Peer, ...] | None:
    result: list[Peer] = []
    for peer in peers:
        block = peer.get("ipBlock")
        if block:
            excepts = () if "except-ignored" in faults else tuple(block.get("except") or ())
            result.append(BlockPeer(block["cidr"], excepts))
            continue
        pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
        if namespaces is None:
            # Without a namespaceSelector the policy's own namespace is meant.
            home = None if "peer-not-namespaced" in faults else namespace
            result.append(PodPeer.of(namespace=home, pods=pods))
        elif pods is not None and "and-as-or" in faults:
            result += [PodPeer.of(namespaces=namespaces), PodPeer.of(namespace=namespace, pods=pods)]
        else:
            result.append(PodPeer.of(namespaces=namespaces, pods=pods))
    return tuple(result) or None


def _ports(ports: list[dict[str, Any]], faults: Collection[str]) -> tuple[Port, ...] | None:
    if "ports-ignored" in faults:
        return None
    if "only-first-port" in faults:
        ports = ports[:1]
    result = []
    for entry in ports:
        protocol = (entry.get("protocol") or "TCP").lower()
        port = entry.get("port")
        if port == 53 and "egress-dns-port" in faults:
            port = 5353
        if port is None:
            result.append(Port(protocol))
        elif isinstance(port, str):
            result.append(Port(protocol, name=port))
        else:
            last = port if "endport-ignored" in faults else entry.get("endPort") or port
            result.append(Port(protocol, low=int(port), high=int(last)))
    return tuple(result) or None
