# SPDX-License-Identifier: Apache-2.0
"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2) reduced to the common form.

Covers endpoints, entities, CIDRs, ports, deny rules and HTTP; a peer kind that is not covered matches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.networkpolicy import order
from pytest_cniconformance.lab.dataplane.policy import (
    EGRESS,
    INGRESS,
    BlockPeer,
    EntityPeer,
    HttpRule,
    Peer,
    PodPeer,
    Policy,
    Port,
    Rule,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_cniconformance.lab.dataplane.seams import Obj
    from pytest_cniconformance.lab.dataplane.selectors import Selector

_NAMESPACE_KEY = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
_ANY_PROTOCOL = ("tcp", "udp", "sctp")
_SIDES = {INGRESS: "from", EGRESS: "to"}


def parse(obj: Obj, faults: Collection[str]) -> list[Policy]:
    """Reduce one object: a policy per entry of ``spec`` and ``specs``."""
    specs = ([obj["spec"]] if obj.get("spec") else []) + (obj.get("specs") or [])
    # A nodeSelector makes it a host policy, which the lab does not have.
    return [
        _policy(obj["metadata"], spec, index, faults)
        for index, spec in enumerate(specs)
        if "nodeSelector" not in spec
    ]


def _policy(meta: dict[str, Any], spec: dict[str, Any], index: int, faults: Collection[str]) -> Policy:
    namespace = meta.get("namespace")
    default_deny = spec.get("enableDefaultDeny") or {}
    isolates = {
        side
        for side in (INGRESS, EGRESS)
        if (spec.get(side) or spec.get(f"{side}Deny")) and default_deny.get(side) is not False
    }
    rules = {side: _direction(spec, side, namespace, faults) for side in (INGRESS, EGRESS)}
    subject = _selector(spec.get("endpointSelector") or {})
    if namespace:
        # A namespace named here is overwritten with the policy's own.
        subject = _without_namespace(subject)
    return Policy(
        key=f"cnp/{namespace or ''}/{meta['name']}/{index}",
        order=order(meta),
        subject=PodPeer.of(namespace=namespace, identity=subject),
        isolates=frozenset(isolates),
        ingress=rules[INGRESS],
        egress=rules[EGRESS],
    )


def _direction(
    spec: dict[str, Any], side: str, namespace: str | None, faults: Collection[str]
) -> tuple[Rule, ...]:
    result: list[Rule] = []
    for section, deny in ((side, False), (f"{side}Deny", True)):
        for rule in spec.get(section) or []:
            result += _rule(rule, _SIDES[side], namespace, deny, faults)
    return tuple(result)


def _rule(
    rule: dict[str, Any], side: str, namespace: str | None, deny: bool, faults: Collection[str]
) -> list[Rule]:
    known = [f"{side}{kind}" for kind in ("Endpoints", "Entities", "CIDR", "CIDRSet")]
    peer_fields = [key for key in rule if key.startswith(side) and key != "toPorts" and rule[key] is not None]
    peers: tuple[Peer, ...] | None = None
    if peer_fields:
        peers = tuple(
            peer
            for key in peer_fields
            if key in known
            for peer in _peers(key[len(side) :], rule[key], namespace)
        )
    items = rule.get("toPorts") or []
    if not items:
        # A rule that names neither peers nor ports allows nothing: it only isolates.
        return [] if peers is None else [Rule(peers, None, deny=deny)]
    result = []
    for item in items:
        http = (item.get("rules") or {}).get("http")
        checked = None if http is None or deny or "l7-not-enforced" in faults else tuple(map(_http, http))
        if checked is not None and "l7-peer-wildcard" in faults:
            peers = None
        result.append(Rule(peers, tuple(_ports(item.get("ports") or [])) or None, checked, deny))
    return result


def _peers(kind: str, values: list[Any], namespace: str | None) -> list[Peer]:
    if kind == "Endpoints":
        peers: list[Peer] = []
        for value in values:
            selector = _selector(value)
            home = None if _names_namespace(selector) else namespace
            peers.append(PodPeer.of(namespace=home, identity=selector))
        return peers
    if kind == "Entities":
        return [EntityPeer(value) for value in values]
    if kind == "CIDR":
        return [BlockPeer(value) for value in values]
    return [BlockPeer(value["cidr"], tuple(value.get("except") or ())) for value in values if "cidr" in value]


def _selector(selector: dict[str, Any]) -> Selector:
    """Drop the label sources ``k8s:`` and ``any:``; identities here have Kubernetes labels only."""
    return {
        "matchLabels": {_bare(k): v for k, v in (selector.get("matchLabels") or {}).items()},
        "matchExpressions": [{**e, "key": _bare(e["key"])} for e in selector.get("matchExpressions") or []],
    }


def _bare(key: str) -> str:
    for source in ("k8s:", "any:", "k8s.", "any."):
        if key.startswith(source):
            return key[len(source) :]
    return key


def _keys(selector: Selector) -> list[str]:
    return [*selector["matchLabels"], *(e["key"] for e in selector["matchExpressions"])]


def _names_namespace(selector: Selector) -> bool:
    return any(key == _NAMESPACE_KEY or key.startswith(_NAMESPACE_LABELS) for key in _keys(selector))


def _without_namespace(selector: Selector) -> Selector:
    return {
        "matchLabels": {k: v for k, v in selector["matchLabels"].items() if k != _NAMESPACE_KEY},
        "matchExpressions": [e for e in selector["matchExpressions"] if e["key"] != _NAMESPACE_KEY],
    }


def _ports(ports: list[dict[str, Any]]) -> list[Port]:
    result = []
    for entry in ports:
        protocol = (entry.get("protocol") or "ANY").lower()
        number = str(entry.get("port", "0"))
        for name in _ANY_PROTOCOL if protocol == "any" else (protocol,):
            if not number.isdigit():
                result.append(Port(name, name=number.lower()))
            elif int(number) == 0:
                result.append(Port(name))
            else:
                last = int(entry.get("endPort") or 0)
                result.append(Port(name, int(number), max(last, int(number))))
    return result


def _http(rule: dict[str, Any]) -> HttpRule:
    headers: list[tuple[str, str | None]] = []
    for text in rule.get("headers") or []:
        name, space, value = text.partition(" ")
        # Without a space the whole text is the name of a header that has to be there.
        headers.append((name.rstrip(":"), value) if space else (text, None))
    headers += [
        (match["name"], match.get("value"))
        for match in rule.get("headerMatches") or []
        if not match.get("mismatch")
    ]
    return HttpRule(
        method=rule.get("method") or "",
        path=rule.get("path") or "",
        host=rule.get("host") or "",
        headers=tuple(headers),
    )
