# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies of what NetworkPolicy v1 can say, over few labels and ports.

Few, so that things meet: what selects nothing proves nothing.

Every choice is made of coin flips. Integers would do, but Hypothesis mixes literals from whatever modules are
loaded into them, and one seed would draw different cases in a worker, in a checkout and in a wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from pytest_cniconformance.policy.builders import expression, matching, network_policy, peer, port, rule
from pytest_cniconformance.policy.objects import NAME_LABEL
from pytest_cniconformance.policy.randomcases.anchors import ANY, OUTSIDE, OUTSIDE_PORT, block
from pytest_cniconformance.policy.randomcases.pool import LABEL_KEYS, namespaces_of

VALUES = ("a", "b", "a", "")
TYPES = (None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])
PROTOCOLS = ("TCP", "UDP", None, "SCTP")
LENGTHS = (0, 8, 16, 24, 32)
NUMBERS: tuple[int | str, ...] = (80, 81, 8080, 80, 81, OUTSIDE_PORT, 79, 53)
ENDS = (81, 80, 82, 8080, 81, 79, 65535, 8079)
"""Ports served are 53, 80, 81 and 8080: ranges end before, on and after them."""

T = TypeVar("T")
Obj = dict[str, Any]
COIN = st.booleans()


def pick(draw: st.DrawFn, options: Sequence[T]) -> T:
    """Return one of the options."""
    number = 0
    for _ in range((len(options) - 1).bit_length()):
        number = 2 * number + draw(COIN)
    return options[number % len(options)]


def rarely(draw: st.DrawFn, flips: int = 2) -> bool:
    """Return True once in ``2**flips`` draws."""
    return all(draw(COIN) for _ in range(flips))


def some(draw: st.DrawFn, item: st.SearchStrategy[T], *, least: int, most: int) -> list[T]:
    """Return a list; each further item is there with an even chance."""
    made = [draw(item) for _ in range(least)]
    while len(made) < most and draw(COIN):
        made.append(draw(item))
    return made


@st.composite
def labels(draw: st.DrawFn) -> dict[str, str]:
    """Return labels of a pod or namespace: none, one or both keys."""
    return {key: pick(draw, VALUES) for key in LABEL_KEYS if draw(COIN)}


@st.composite
def expressions(draw: st.DrawFn, names: Sequence[str] = ()) -> Obj:
    """Return one of the four operators; ``names`` are namespaces to choose by their automatic label."""
    operator = pick(draw, ("In", "NotIn", "In", "Exists", "In", "NotIn", "In", "DoesNotExist"))
    key = pick(draw, LABEL_KEYS)
    values: Sequence[str] = VALUES
    if names and rarely(draw):
        key, values = NAME_LABEL, names
    if operator not in ("In", "NotIn"):
        return expression(key, operator)
    chosen = [pick(draw, values)]
    if not rarely(draw):
        chosen = list(dict.fromkeys([*chosen, pick(draw, values)]))
    return expression(key, operator, *chosen)


@st.composite
def selectors(draw: st.DrawFn, names: Sequence[str] = ()) -> Obj:
    """Return a selector: everything, by labels, by expressions, or by both."""
    kind = pick(draw, ("all", "labels", "expressions", "labels", "expressions", "both", "labels", "all"))
    chosen: dict[str, str] = {}
    if kind in ("labels", "both"):
        if names and rarely(draw):
            chosen[NAME_LABEL] = pick(draw, names)
        else:
            chosen[pick(draw, LABEL_KEYS)] = pick(draw, VALUES)
        if rarely(draw):
            chosen[pick(draw, LABEL_KEYS)] = pick(draw, VALUES)
    if kind in ("expressions", "both"):
        wanted = some(draw, expressions(names), least=1, most=2)
        return matching(*wanted, labels=chosen or None)
    return chosen


@st.composite
def blocks(draw: st.DrawFn, pods: Sequence[str] = ()) -> Obj:
    """Return an ipBlock around a pod, the address outside or everything, with and without exceptions, or beside."""
    family = int(draw(COIN))
    anchors = (ANY, OUTSIDE, OUTSIDE, *pods)
    if rarely(draw):
        return peer(cidr=block(pick(draw, anchors[1:]), pick(draw, LENGTHS[1:]), family, beside=True))
    anchor = pick(draw, anchors)
    length = 0 if anchor == ANY else pick(draw, LENGTHS[1:])
    cuts: list[str] = []
    aside = draw(COIN)  # of two exceptions one is around the anchor and one beside it, in either order
    for _ in range(pick(draw, (0, 1, 2, 2)) if length < 32 else 0):
        inner = pick(draw, anchors[1:]) if anchor == ANY else anchor
        longer = pick(draw, [longer for longer in LENGTHS if longer > length])
        cuts.append(block(inner, longer, family, beside=aside))
        aside = not aside
    return peer(cidr=block(anchor, length, family), except_=cuts or None)


@st.composite
def peers(draw: st.DrawFn, pods: Sequence[str]) -> Obj:
    """Return a peer: pods of the policy's namespace, namespaces, both, or an address block."""
    names = namespaces_of(tuple(pods))
    kind = pick(draw, ("pods", "namespaces", "both", "block", "both", "pods", "block", "namespaces"))
    if kind == "block":
        return draw(blocks(pods))
    chosen = draw(selectors()) if kind in ("pods", "both") else None
    return peer(chosen, draw(selectors(names)) if kind in ("namespaces", "both") else None)


PORT_KINDS = ("number", "range", "name", "range", "number", "protocol", "name", "number")


@st.composite
def ports(draw: st.DrawFn, kinds: Sequence[str] = PORT_KINDS) -> Obj:
    """Return a port entry: a number, a range, a name, or a protocol alone."""
    kind = pick(draw, kinds)
    if kind == "name":
        name = pick(draw, ("web", "dns", "metrics", "web"))
        usual = "UDP" if name == "dns" else "TCP"
        return port(name, pick(draw, ("TCP", "UDP")) if rarely(draw) else usual)
    protocol = pick(draw, PROTOCOLS) if rarely(draw) else pick(draw, PROTOCOLS[:2])
    if kind == "protocol":
        return port(None, protocol)
    if kind == "range":
        first = pick(draw, (80, 79, 81, 1))
        return port(first, protocol, end=pick(draw, [end for end in ENDS if end >= first]))
    return port(pick(draw, NUMBERS), protocol)


@st.composite
def rules(draw: st.DrawFn, pods: Sequence[str]) -> Any:
    """Return a rule: peers and ports, each absent, empty or given."""
    chosen: list[Any] = []
    for item in (peers(pods), ports()):
        kind = pick(draw, ("absent", "given", "given", "given"))
        if kind == "absent":
            chosen.append([] if rarely(draw) else None)
        else:
            chosen.append(some(draw, item, least=1, most=3))
    return rule(*chosen)


@st.composite
def world_rules(draw: st.DrawFn) -> Any:
    """Return a rule for the address outside: only there does the API say what an ipBlock means."""
    chosen = some(draw, blocks(), least=1, most=3)
    if draw(COIN):
        return rule(chosen)
    return rule(chosen, [port(OUTSIDE_PORT if draw(COIN) else 80), *some(draw, ports(), least=0, most=2)])


@st.composite
def sections(draw: st.DrawFn, item: st.SearchStrategy[Any]) -> list[Any]:
    """Return the rules of one direction; every other one has a twin: the same peers, other ports."""
    made = some(draw, item, least=1, most=3)
    if draw(COIN):
        made.append(replace(made[0], ports=tuple(some(draw, ports(), least=1, most=3))))
    return made


@st.composite
def policies(
    draw: st.DrawFn, name: str, pods: Sequence[str], *, outside: bool = False, home: str = ""
) -> Obj:
    """Return a policy, in the namespace of one of the pods; its sections and its types need not agree."""
    made: list[list[Any] | None] = []
    for section in ("ingress", "egress"):
        kind = pick(draw, ("absent", "given", "given", "empty"))
        to_world = outside and section == "egress" and draw(COIN)
        item = world_rules() if to_world else rules(pods)
        made.append(None if kind == "absent" else draw(sections(item)) if kind == "given" else [])
    return network_policy(
        name,
        home or pick(draw, namespaces_of(tuple(pods))),
        draw(selectors()),
        ingress=made[0],
        egress=made[1],
        types=pick(draw, TYPES),
    )


@st.composite
def plain_policies(
    draw: st.DrawFn,
    name: str,
    pods: Sequence[str],
    *,
    outside: bool = False,
    kinds: Sequence[str] = ("peers", "ports", "world", "rules"),
) -> Obj:
    """Return a policy that isolates a namespace in one direction and says one kind of thing: nothing else hides it."""
    section = "egress" if draw(COIN) else "ingress"
    kind = pick(draw, kinds)
    if kind == "world" and outside:
        section, made = "egress", draw(sections(world_rules()))
    elif kind == "ports":
        entries = pick(draw, (PORT_KINDS, ("range",), ("name",), PORT_KINDS))
        made = [rule(None, some(draw, ports(entries), least=1, most=4))]
    elif kind == "rules":
        made = draw(sections(rules(pods)))
    else:
        made = [rule(some(draw, peers(pods), least=1, most=2))]
    home = pick(draw, namespaces_of(tuple(pods)))
    rules_of: Any = {section: made}
    return network_policy(name, home, {}, types=[section.capitalize()], **rules_of)


_BAD_PORTS: tuple[Obj, ...] = (
    {"port": 80, "endPort": 79},
    {"endPort": 80},
    {"port": "web", "endPort": 80},
    {"port": 0},
    {"port": 65536},
    {"port": "Web"},
    {"port": 80, "protocol": "ICMP"},
)
_BAD_PEERS: tuple[Obj, ...] = (
    {},
    {"ipBlock": {"cidr": "192.0.2.0/33"}},
    {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["198.51.100.0/25"]}},
    {"ipBlock": {"cidr": "192.0.2.0/24"}, "podSelector": {}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": []}]}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}},
    {"namespaceSelector": {"matchLabels": {"app": "not a value"}}},
)


@st.composite
def invalid_policies(draw: st.DrawFn, name: str, pods: Sequence[str]) -> Obj:
    """Return a policy with one thing in it that the API server has to refuse (NP-VAL-1, NP-EMP-7)."""
    made: Obj = draw(plain_policies(name, pods))
    kind = pick(draw, ("port", "peer", "port", "type"))
    if kind == "type":
        spec = {**made["spec"], "policyTypes": [pick(draw, ("Forward", "ingress"))]}
    else:
        section, side = pick(draw, (("ingress", "from"), ("egress", "to")))
        bad = {"ports": [pick(draw, _BAD_PORTS)]} if kind == "port" else {side: [pick(draw, _BAD_PEERS)]}
        spec = {**made["spec"], section: [*made["spec"].get(section, []), bad]}
    return {**made, "spec": spec}
