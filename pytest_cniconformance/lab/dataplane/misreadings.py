# SPDX-License-Identifier: Apache-2.0
"""Faults of understanding: a policy engine that misreads a NetworkPolicy enforces another one, soundly.

Each misreading turns the ``spec`` that was meant into the one that the engine takes it for; the compiler behind
it knows of no faults. Specs are never changed in place.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.addressing import IPV4, IPV6, pod_network

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Spec = dict[str, Any]
_SIDES = (("ingress", "from", "Ingress"), ("egress", "to", "Egress"))
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_NEGATIVE = ("NotIn", "DoesNotExist")
_EVERY_POD: Spec = {"namespaceSelector": {}}


def misread(spec: Spec, faults: Collection[str]) -> Spec:
    """Return the spec as an engine with these faults understands it."""
    for name in MISREADINGS.keys() & set(faults):
        spec = MISREADINGS[name](spec)
    return spec


# -- how much of a spec a misreading looks at ------------------------------------------------------------------


def _sections(change: Callable[[list[Spec], str], list[Spec]]) -> Callable[[Spec], Spec]:
    """Misread the list of rules of each direction; ``change`` gets it with the name of its peers."""

    def misread(spec: Spec) -> Spec:
        return {**spec, **{key: change(spec[key], side) for key, side, _ in _SIDES if spec.get(key)}}

    return misread


def _rules(change: Callable[[Spec, str], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    return _sections(lambda rules, side: [new for rule in rules for new in change(rule, side)])


def _entries(change: Callable[[list[Spec]], list[Spec]], *fields: str) -> Callable[[Spec], Spec]:
    """Misread the lists of peers or ports. An empty one would mean all: then the rule matches nothing."""

    def rule(rule: Spec, _: str) -> Iterable[Spec]:
        new = {**rule, **{field: change(rule[field]) for field in fields if rule.get(field)}}
        return [new] if all(new.get(field) for field in fields if rule.get(field)) else []

    return _rules(rule)


def _peers(change: Callable[[Spec], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    return _entries(lambda peers: [new for peer in peers for new in change(peer)], "from", "to")


def _ports(change: Callable[[Spec], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    return _entries(lambda ports: [new for port in ports for new in change(port)], "ports")


def _blocks(change: Callable[[Spec], Spec | None]) -> Callable[[Spec], Spec]:
    """Misread ipBlocks; None: the block matches nothing."""

    def peer(peer: Spec) -> Iterable[Spec]:
        block = change(peer["ipBlock"]) if peer.get("ipBlock") else None
        return [{"ipBlock": block}] if block else [] if peer.get("ipBlock") else [peer]

    return _peers(peer)


def _ranges(change: Callable[[int, int], tuple[int, int]]) -> Callable[[Spec], Spec]:
    """Misread ranges of ports; one that ends before it begins matches nothing."""

    def port(entry: Spec) -> Iterable[Spec]:
        if not entry.get("endPort"):
            return [entry]
        low, high = change(entry["port"], entry["endPort"])
        return [{**entry, "port": low, "endPort": high}] if low <= high else []

    return _ports(port)


def _selectors(change: Callable[[Spec], Spec]) -> Callable[[Spec], Spec]:
    """Misread every label selector, that of the policy's subject included."""

    def peer(peer: Spec) -> Iterable[Spec]:
        return [{k: v if k == "ipBlock" or v is None else change(v) for k, v in peer.items()}]

    inner = _peers(peer)
    return lambda spec: inner({**spec, "podSelector": change(spec.get("podSelector") or {})})


def _expressions(change: Callable[[Spec], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    def selector(selector: Spec) -> Spec:
        new = [n for e in selector.get("matchExpressions") or [] for n in change(e)]
        return {**selector, "matchExpressions": new}

    return _selectors(selector)


# -- misreadings that take more than a line -----------------------------------------------------------------------


def _types(spec: Spec) -> list[str]:
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _types_of_filled_sections(spec: Spec) -> Spec:
    filled = [kind for key, _, kind in _SIDES if spec.get(key)]
    return {**spec, "policyTypes": list(dict.fromkeys([*_types(spec), *filled]))}


def _egress_rules_mean_egress_only(spec: Spec) -> Spec:
    # What the API server filled in cannot be told from what the user wrote.
    defaulted = spec.get("egress") and "ingress" not in spec and len(_types(spec)) == len(_SIDES)
    return {**spec, "policyTypes": ["Egress"]} if defaulted else spec


def _one_chain_for_both_directions(spec: Spec) -> Spec:
    """Let what a rule of either direction allows pass in the other too; the pod at the far end still has its say."""
    if len(_types(spec)) < len(_SIDES):
        return spec
    subjects = [{"podSelector": spec.get("podSelector") or {}}]

    def turned(key: str, side: str) -> list[Spec]:
        ports = [{"ports": rule["ports"]} if rule.get("ports") else {} for rule in spec.get(key) or []]
        return [{side: subjects, **more} for more in ports]

    ingress = [*(spec.get("ingress") or []), *turned("egress", "from")]
    return {**spec, "ingress": ingress, "egress": [*(spec.get("egress") or []), *turned("ingress", "to")]}


def _empty_lists_allow(spec: Spec) -> Spec:
    types = _types(spec)
    return {**spec, **{key: spec.get(key) or [{}] for key, _, kind in _SIDES if kind in types}}


def _crossed(rules: list[Spec], side: str) -> list[Spec]:
    """Mix the peers of every rule with the ports of every rule; a rule without some stands for all."""
    mixed = {
        field: [entry for rule in rules for entry in rule[field]]
        for field in (side, "ports")
        if all(rule.get(field) for rule in rules)
    }
    return [mixed]


def _last_ports_of_a_block(rules: list[Spec], side: str) -> list[Spec]:
    """Keep blocks in a table by CIDR: what a later rule says of one overwrites what an earlier one said."""
    last = {
        peer["ipBlock"]["cidr"]: index
        for index, rule in enumerate(rules)
        for peer in rule.get(side) or []
        if peer.get("ipBlock")
    }
    kept = []
    for index, rule in enumerate(rules):
        peers = rule.get(side) or []
        mine = [p for p in peers if not p.get("ipBlock") or last[p["ipBlock"]["cidr"]] == index]
        if mine or not peers:
            kept.append({**rule, **({side: mine} if mine else {})})
    return kept


def _one_except_list(rules: list[Spec], side: str) -> list[Spec]:
    """Take the exceptions of all blocks out of every block."""
    blocks = [p["ipBlock"] for rule in rules for p in rule.get(side) or [] if p.get("ipBlock")]
    every = [cut for block in blocks for cut in block.get("except") or []]
    spec = _blocks(lambda block: {**block, "except": every})({_key(side): rules})
    return list(spec[_key(side)])


def _key(side: str) -> str:
    return next(key for key, name, _ in _SIDES if name == side)


def _block_with_port_skips_source(rule: Spec, side: str) -> Iterable[Spec]:
    blocks = any(peer.get("ipBlock") for peer in rule.get(side) or [])
    return [{"ports": rule["ports"]}] if blocks and rule.get("ports") else [rule]


def _either_selector(peer: Spec) -> Iterable[Spec]:
    if peer.get("podSelector") is None or peer.get("namespaceSelector") is None:
        return [peer]
    return [{key: peer[key]} for key in ("namespaceSelector", "podSelector")]


def _any_address(peer: Spec) -> Iterable[Spec]:
    everywhere = peer.get("namespaceSelector") == {} and peer.get("podSelector") is None
    return [peer, *_outside()] if everywhere else [peer]


def _negations_match_the_world(peer: Spec) -> Iterable[Spec]:
    expressions = [
        e
        for key in ("podSelector", "namespaceSelector")
        for e in (peer.get(key) or {}).get("matchExpressions") or []
    ]
    return [peer, *_outside()] if any(e["operator"] in _NEGATIVE for e in expressions) else [peer]


def _outside() -> list[Spec]:
    blocks = (("0.0.0.0/0", IPV4), ("::/0", IPV6))
    return [{"ipBlock": {"cidr": cidr, "except": [str(pod_network(family))]}} for cidr, family in blocks]


def _wider(block: Spec) -> Spec:
    network = ip_network(block["cidr"], strict=False)
    return {**block, "cidr": str(network.supernet()) if network.prefixlen else block["cidr"]}


def _negation_needs_key(expression: Spec) -> Iterable[Spec]:
    if expression["operator"] == "DoesNotExist":
        return [{"key": expression["key"], "operator": "In", "values": []}]
    if expression["operator"] == "NotIn":
        return [expression, {"key": expression["key"], "operator": "Exists"}]
    return [expression]


def _named(change: Callable[[Spec], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    return _ports(lambda entry: change(entry) if isinstance(entry.get("port"), str) else [entry])


def _portless(change: Callable[[Spec], Iterable[Spec]]) -> Callable[[Spec], Spec]:
    return _ports(lambda entry: change(entry) if entry.get("port") is None else [entry])


def _first_range(ports: list[Spec]) -> list[Spec]:
    ranges = [entry for entry in ports if entry.get("endPort")]
    return [entry for entry in ports if entry not in ranges[1:]]


def _without(*fields: str) -> Callable[[Spec], Iterable[Spec]]:
    return lambda entry: [{key: value for key, value in entry.items() if key not in fields}]


MISREADINGS: dict[str, Callable[[Spec], Spec]] = {
    # directions
    "egress-not-enforced": lambda spec: {
        **spec,
        "policyTypes": [t for t in _types(spec) if t != "Egress"] or ["None"],
    },
    "direction-ignored": lambda spec: {**spec, "policyTypes": ["Ingress", "Egress"]},
    "unlisted-section-enforced": _types_of_filled_sections,
    "default-types-wrong": _egress_rules_mean_egress_only,
    "directions-share-rules": _one_chain_for_both_directions,
    # rules
    "allow-rules-dropped": _sections(lambda _rules, _side: []),
    "empty-list-allows": _empty_lists_allow,
    "empty-rule-matches-nothing": _rules(
        lambda rule, side: [rule] if rule.get(side) or rule.get("ports") else []
    ),
    "only-first-rule": _sections(lambda rules, _: rules[:1]),
    "cross-rule": _sections(_crossed),
    # peers
    "no-peers-means-pods": _rules(
        lambda rule, side: [rule if rule.get(side) else {**rule, side: [_EVERY_POD]}]
    ),
    "no-peers-means-own-namespace": _rules(
        lambda rule, side: [rule if rule.get(side) else {**rule, side: [{"podSelector": {}}]}]
    ),
    "only-first-peer": _entries(lambda peers: peers[:1], "from", "to"),
    "and-as-or": _peers(_either_selector),
    "peer-not-namespaced": _peers(lambda peer: [peer if peer.get("ipBlock") else {**_EVERY_POD, **peer}]),
    "peer-namespace-ignored": _peers(
        lambda peer: [peer if peer.get("ipBlock") else {"podSelector": peer.get("podSelector") or {}}]
    ),
    "namespace-selector-all-addresses": _peers(_any_address),
    "negative-selects-world": _peers(_negations_match_the_world),
    # selectors
    "expressions-ignored": _expressions(lambda _: []),
    "expression-values-dropped": _expressions(lambda e: [{**e, "values": []}]),
    "in-first-value": _expressions(
        lambda e: [{**e, "values": e["values"][:1]} if e["operator"] == "In" else e]
    ),
    "notin-needs-key": _expressions(_negation_needs_key),
    # ports
    "ports-ignored": _rules(lambda rule, _: _without("ports")(rule)),
    "no-ports-means-tcp": _rules(lambda rule, _: [rule if rule.get("ports") else {**rule, "ports": [{}]}]),
    "only-first-port": _entries(lambda ports: ports[:1], "ports"),
    "port-protocol-ignored": _ports(lambda entry: [{**entry, "protocol": p} for p in _PROTOCOLS]),
    "portless-entry-opens-all": _portless(lambda _: [{"protocol": p} for p in _PROTOCOLS]),
    "portless-entry-dropped": _portless(lambda _: []),
    "named-port-opens-all": _named(_without("port")),
    "named-port-dropped": _named(lambda _: []),
    "endport-ignored": _ports(_without("endPort")),
    "endport-exclusive": _ranges(lambda low, high: (low, high - 1)),
    "endport-one-too-many": _ranges(lambda low, high: (low, min(high + 1, 65535))),
    "range-start-excluded": _ranges(lambda low, high: (low + 1, high)),
    "range-truncated": _ranges(lambda low, high: (low, min(high, low + 1023))),
    "egress-dns-port": _ports(lambda entry: [{**entry, "port": 5353} if entry.get("port") == 53 else entry]),
    "range-means-tcp": _ports(
        lambda entry: [{**entry, "protocol": "TCP"} if entry.get("endPort") else entry]
    ),
    "only-first-range": _entries(_first_range, "ports"),
    # blocks
    "ipblock-matches-nothing": _blocks(lambda _: None),
    "except-ignored": _blocks(lambda block: {"cidr": block["cidr"]}),
    "only-first-except": _blocks(lambda block: {**block, "except": (block.get("except") or [])[:1]}),
    "excepts-merged": _sections(_one_except_list),
    "prefix-too-short": _blocks(_wider),
    "slash-zero-matches-nothing": _blocks(lambda block: None if block["cidr"].endswith("/0") else block),
    "block-ports-overwritten": _sections(_last_ports_of_a_block),
    "block-port-skips-source": _rules(_block_with_port_skips_source),
}
"""By the name of the fault."""
