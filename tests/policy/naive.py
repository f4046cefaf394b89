# SPDX-License-Identifier: Apache-2.0
"""A second evaluator, written from the API's text with loops and sets: slow, and sharing nothing with the first.

It knows pods (on the pod network) and outside addresses. An ipBlock on a pod's address yields None: open.
"""

from __future__ import annotations

import ipaddress
from typing import Any


def allowed(
    policies: list[dict[str, Any]],
    labels_of_namespace: dict[str, dict[str, str]],
    source: dict[str, Any],
    destination: dict[str, Any],
    port: int,
    protocol: str,
) -> bool | None:
    """Ends are ``{"ip": …}`` or ``{"ip", "ns", "name", "labels", "named"}``."""
    if source is destination:
        return True
    halves = [
        one_way(policies, labels_of_namespace, me, other, direction, destination, port, protocol)
        for me, other, direction in ((source, destination, "Egress"), (destination, source, "Ingress"))
    ]
    if False in halves:
        return False
    return None if None in halves else True


def one_way(
    policies: list[dict[str, Any]],
    labels_of_namespace: dict[str, dict[str, str]],
    me: dict[str, Any],
    other: dict[str, Any],
    direction: str,
    destination: dict[str, Any],
    port: int,
    protocol: str,
) -> bool | None:
    if "ns" not in me:
        return True
    isolated, doubtful = False, False
    for policy in policies:
        spec = policy["spec"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        if policy["metadata"]["namespace"] != me["ns"] or direction not in types:
            continue
        if not selected(spec["podSelector"], me["labels"]):
            continue
        isolated = True
        for rule in spec.get(direction.lower()) or []:
            if not port_fits(rule.get("ports") or [], destination, port, protocol):
                continue
            peers = rule.get("from" if direction == "Ingress" else "to") or []
            if not peers:
                return True
            for peer in peers:
                fits = peer_fits(peer, me["ns"], other, labels_of_namespace)
                if fits is True:
                    return True
                doubtful = doubtful or fits is None
    if not isolated:
        return True
    return None if doubtful else False


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions") or []:
        value = labels.get(e["key"])
        good = {
            "In": value is not None and value in (e.get("values") or []),
            "NotIn": value is None or value not in (e.get("values") or []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[e["operator"]]
        if not good:
            return False
    return True


def port_fits(ports: list[dict[str, Any]], destination: dict[str, Any], port: int, protocol: str) -> bool:
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != protocol:
            continue
        wanted = entry.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            if any(
                n == wanted and p == protocol and num == port for n, p, num in destination.get("named", [])
            ):
                return True
        elif port in range(wanted, entry.get("endPort", wanted) + 1):
            return True
    return False


def peer_fits(
    peer: dict[str, Any],
    namespace: str,
    other: dict[str, Any],
    labels_of_namespace: dict[str, dict[str, str]],
) -> bool | None:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        ip = ipaddress.ip_address(other["ip"])
        inside = ip in ipaddress.ip_network(block["cidr"]) and not any(
            ip in ipaddress.ip_network(cut) for cut in block.get("except") or []
        )
        return (None if "ns" in other else True) if inside else False
    if "ns" not in other:
        return False
    if "namespaceSelector" in peer:
        if not selected(peer["namespaceSelector"], labels_of_namespace[other["ns"]]):
            return False
    elif other["ns"] != namespace:
        return False
    return "podSelector" not in peer or selected(peer["podSelector"], other["labels"])
