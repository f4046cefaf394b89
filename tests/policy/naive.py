# SPDX-License-Identifier: Apache-2.0
"""A second evaluator, written from the API's text with loops and sets: slow, and sharing nothing with the first.

One pair at a time. True is allowed, False denied, None left open by the API.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

Open = bool | None


@dataclass
class End:
    """A pod, a node or an outside address. ``ips`` is by family; ``node`` is where a pod runs, or a node's name."""

    kind: str
    ips: dict[str, str] = field(default_factory=dict)
    node: str = ""
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    named: list[tuple[str, str, int]] = field(default_factory=list)
    host: bool = False

    @property
    def on_node_network(self) -> bool:
        return self.kind == "node" or self.host


@dataclass
class World:
    policies: list[dict[str, Any]]
    namespaces: dict[str, dict[str, str]]
    ends: dict[str, End]


def world_of(objs: list[dict[str, Any]], outside: dict[str, str]) -> World:
    """Read objects; ``outside`` maps addresses to families."""
    world = World([], {}, {ip: End("ip", {version: ip}) for ip, version in outside.items()})
    for o in objs:
        meta = o["metadata"]
        if o["kind"] == "NetworkPolicy":
            world.policies.append(o)
        elif o["kind"] == "Namespace":
            world.namespaces[meta["name"]] = {**meta["labels"], "kubernetes.io/metadata.name": meta["name"]}
        elif o["kind"] == "Node":
            ips = {family(a["address"]): a["address"] for a in o["status"]["addresses"]}
            world.ends[meta["name"]] = End("node", ips, meta["name"])
        elif o["kind"] == "Pod":
            spec = o["spec"]
            world.ends[f"{meta['namespace']}/{meta['name']}"] = End(
                "pod",
                {family(entry["ip"]): entry["ip"] for entry in o["status"]["podIPs"]},
                spec.get("nodeName", ""),
                meta["namespace"],
                meta["labels"],
                [
                    (p["name"], p.get("protocol", "TCP"), p["containerPort"])
                    for p in spec["containers"][0]["ports"]
                ],
                spec.get("hostNetwork", False),
            )
    return world


def family(ip: str) -> str:
    return "ipv6" if ":" in ip else "ipv4"


def judge(
    world: World, source: str, destination: str, port: int, protocol: str, family: str
) -> tuple[Open, Open]:
    """Return what egress of the source and ingress of the destination say."""
    s, d = world.ends[source], world.ends[destination]
    if source == destination and s.kind == "pod":
        return True, True
    asked = (d, port, protocol, family)
    return one_way(world, s, d, "Egress", asked), one_way(world, d, s, "Ingress", asked)


def both(egress: Open, ingress: Open) -> Open:
    if egress is False or ingress is False:
        return False
    return None if egress is None or ingress is None else True


def judge_service(
    world: World, source: str, vip: str, backends: list[tuple[str, int]], port: int, protocol: str
) -> Open:
    """Judge a connection to a Service's address; ``backends`` are pods with the port that answers there."""
    s, of_vip, verdicts = world.ends[source], family(vip), set()
    seen = End("ip", {of_vip: vip})
    for name, target in backends:
        d = world.ends[name]
        asked = (d, target, protocol, of_vip)
        egress, ingress = one_way(world, s, d, "Egress", asked), one_way(world, d, s, "Ingress", asked)
        if name == source:  # hairpin: what its policies do not allow is open
            egress, ingress = egress or None, ingress or None
        elif egress is False and any(
            one_way(world, s, seen, "Egress", (seen, number, protocol, of_vip)) for number in (port, target)
        ):
            egress = None  # allowed if policies see the Service's address
        verdicts.add(both(egress, ingress))
    return verdicts.pop() if len(verdicts) == 1 else None


def one_way(world: World, me: End, other: End, direction: str, asked: tuple[End, int, str, str]) -> Open:
    if me.kind != "pod":
        return True
    destination, port, protocol, family = asked
    isolated, doubtful = False, False
    same_node = bool(me.node) and me.node == other.node
    for policy in world.policies:
        spec = policy["spec"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        if policy["metadata"]["namespace"] != me.namespace or direction not in types:
            continue
        if not selected(spec["podSelector"], me.labels):
            continue
        isolated = True
        for rule in spec.get(direction.lower()) or []:
            if not port_fits(rule.get("ports") or [], destination, port, protocol):
                continue
            peers = rule.get("from" if direction == "Ingress" else "to") or []
            if not peers:
                return True
            for peer in peers:
                fits = peer_fits(world, peer, me.namespace, other, family)
                if fits is True:
                    return True
                doubtful = doubtful or fits is None
    if not isolated:
        return True
    if other.on_node_network:
        if direction == "Ingress":
            return True if same_node else None
        if same_node or not me.node or not other.node:
            return None
    return None if doubtful or me.host else False


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


def port_fits(ports: list[dict[str, Any]], destination: End, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != protocol:
            continue
        wanted = entry.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            if (wanted, protocol, port) in destination.named:
                return True
        elif port in range(wanted, entry.get("endPort", wanted) + 1):
            return True
    return False


def peer_fits(world: World, peer: dict[str, Any], namespace: str, other: End, family: str) -> Open:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        of_block = "ipv6" if ":" in block["cidr"] else "ipv4"
        if other.kind == "pod" and not other.ips:
            return None if of_block == family else False
        if of_block != family or family not in other.ips:
            return False
        ip = ipaddress.ip_address(other.ips[family])
        inside = ip in ipaddress.ip_network(block["cidr"]) and not any(
            ip in ipaddress.ip_network(cut) for cut in block.get("except") or []
        )
        if not inside:
            return False
        return True if other.kind == "ip" else None
    if other.kind != "pod":
        return False
    if "namespaceSelector" in peer:
        if not selected(peer["namespaceSelector"], world.namespaces[other.namespace]):
            return False
    elif other.namespace != namespace:
        return False
    if "podSelector" in peer and not selected(peer["podSelector"], other.labels):
        return False
    return None if other.host else True
