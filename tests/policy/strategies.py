# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: small clusters and sets of policies over few labels, so that things meet."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

from pytest_cniconformance.policy.builders import Obj, expression, network_policy, peer, port, rule

KEYS, VALUES = ("k", "l"), ("", "1", "2")
NAMES = ("web", "dns")
PROTOCOLS = ("TCP", "UDP", "SCTP")
NAMESPACES = ("x", "y")
SUBNET = ipaddress.ip_network("10.0.0.0/28")
SUBNET6 = ipaddress.ip_network("fd00::/124")
OUTSIDE = ("10.0.0.14", "10.0.0.15", "203.0.113.9")
OUTSIDE6 = ("fd00::e", "fd00::f", "2001:db8::9")

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
numbers = st.integers(79, 83)


@st.composite
def expressions(draw: st.DrawFn) -> Obj:
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    values = ()
    if operator in ("In", "NotIn"):
        values = tuple(draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=2)))
    return expression(draw(st.sampled_from(KEYS)), operator, *values)


@st.composite
def selectors(draw: st.DrawFn) -> Obj:
    made: Obj = {}
    if draw(st.booleans()):
        made["matchLabels"] = draw(labels)
    if draw(st.booleans()):
        made["matchExpressions"] = draw(st.lists(expressions(), max_size=2))
    return made


@st.composite
def blocks(draw: st.DrawFn) -> Obj:
    subnet = draw(st.sampled_from([SUBNET, SUBNET, SUBNET6]))
    full = subnet.max_prefixlen
    length = draw(st.sampled_from([0, *range(full - 8, full + 1)]))
    base = ipaddress.ip_network((draw(st.sampled_from(list(subnet))), length), strict=False)
    cuts = []
    if length < full and draw(st.booleans()):
        for _ in range(draw(st.integers(1, 2))):
            inner = draw(st.integers(max(length + 1, full - 8), full))
            inside = draw(st.sampled_from([a for a in subnet if a in base]))
            cuts.append(str(ipaddress.ip_network((inside, inner), strict=False)))
    return peer(cidr=str(base), except_=cuts or None)


@st.composite
def selector_peers(draw: st.DrawFn) -> Obj:
    pods = draw(st.none() | selectors())
    return peer(pods, draw(selectors() if pods is None else st.none() | selectors()))


@st.composite
def ports(draw: st.DrawFn) -> Obj:
    protocol = draw(st.sampled_from([None, *PROTOCOLS]))
    kind = draw(st.sampled_from(["number", "range", "name", "any"]))
    if kind == "name":
        return port(draw(st.sampled_from(NAMES)), protocol)
    if kind == "any":
        return port(None, protocol)
    first = draw(numbers)
    return port(first, protocol, end=draw(st.integers(first, 83)) if kind == "range" else None)


peers = st.one_of(selector_peers(), selector_peers(), blocks())
rules = st.builds(rule, st.none() | st.lists(peers, max_size=2), st.none() | st.lists(ports(), max_size=2))
rule_lists = st.none() | st.lists(rules, max_size=2)
types = st.none() | st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]])


@st.composite
def policy_sets(draw: st.DrawFn, max_size: int = 4) -> list[Obj]:
    return [
        network_policy(
            f"p{i}",
            draw(st.sampled_from(NAMESPACES)),
            draw(selectors()),
            ingress=draw(rule_lists),
            egress=draw(rule_lists),
            types=draw(types),
        )
        for i in range(draw(st.integers(0, max_size)))
    ]


@st.composite
def worlds(draw: st.DrawFn) -> list[Obj]:
    """Two namespaces and two to five pods with addresses of one /28, on the pod network."""
    objs: list[Obj] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": draw(labels)}}
        for name in NAMESPACES
    ]
    for i in range(draw(st.integers(2, 5))):
        named: list[dict[str, Any]] = [
            {"name": name, "containerPort": draw(numbers), "protocol": draw(st.sampled_from(PROTOCOLS))}
            for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
        ]
        objs.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"p{i}",
                    "namespace": draw(st.sampled_from(NAMESPACES)),
                    "labels": draw(labels),
                },
                "spec": {"nodeName": f"n{i % 2}", "containers": [{"name": "c", "ports": named}]},
                "status": {"phase": "Running", "podIPs": [{"ip": str(SUBNET[i + 1])}]},
            }
        )
    return objs


@st.composite
def mixed_worlds(draw: st.DrawFn) -> list[Obj]:
    """The same with two nodes, and pods of both families, of one or of none, on the host network, not scheduled."""
    objs = draw(worlds())
    for i, obj in enumerate(obj for obj in objs if obj["kind"] == "Pod"):
        if draw(st.booleans()):
            obj["spec"]["hostNetwork"] = True
        obj["spec"]["nodeName"] = draw(st.sampled_from(["n0", "n1", ""]))
        both = [{"ip": str(SUBNET[i + 1])}, {"ip": str(SUBNET6[i + 1])}]
        obj["status"]["podIPs"] = draw(st.sampled_from([both, both[:1], both[1:], []]))
    for i in range(2):
        addresses = [{"type": "InternalIP", "address": str(net[12 + i])} for net in (SUBNET, SUBNET6)]
        objs.append({"kind": "Node", "metadata": {"name": f"n{i}"}, "status": {"addresses": addresses}})
    return objs
