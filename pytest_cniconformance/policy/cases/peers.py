# SPDX-License-Identifier: Apache-2.0
"""Who a rule matches: nobody named, one peer of ten kinds, and every two kinds side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import Obj, peer, port, rule
from pytest_cniconformance.policy.cases.case import Case, single
from pytest_cniconformance.policy.cases.shapes import (
    OTHERS,
    SCTP,
    SIDES,
    UDP,
    Side,
    ask,
    policy,
)

PEERS, BLOCKS = "networkpolicy/peers", "networkpolicy/ipblock"


@dataclass(frozen=True, slots=True)
class Kind:
    """One peer: its short name, the words for it, the object."""

    name: str
    words: str
    peer: Obj

    @property
    def feature(self) -> str:
        """Blocks are a feature of their own: some CNIs lack them."""
        return BLOCKS if "ipBlock" in self.peer else PEERS


def selectors(pod: str, namespace: str) -> tuple[Kind, ...]:
    """Return the eight ways to select pods: by pod, by namespace, by both; all of them or by a label."""
    pods = {"": None, "pods-any": {}, f"pod-{pod}": {"pod": pod}}
    namespaces = {"": None, "ns-any": {}, f"ns-{namespace}": {"ns": namespace}}
    words = {"": "the own namespace", "ns-any": "all namespaces", f"ns-{namespace}": f"namespace {namespace}"}
    of_pods = {"": "", "pods-any": "all pods of ", f"pod-{pod}": f"pods {pod} of "}
    found = []
    for space, chosen_spaces in namespaces.items():
        for name, chosen in pods.items():
            if name or space:
                made = peer(pods=chosen, namespaces=chosen_spaces)
                found.append(Kind("+".join(filter(None, (space, name))), of_pods[name] + words[space], made))
    return tuple(found)


def block(pod: str) -> Kind:
    """Return the block that holds one pod and nobody else."""
    return Kind(f"block-{pod.replace('/', '')}", f"the address of {pod}", peer(cidr=f"@block:{pod}"))


def block_except(pod: str) -> Kind:
    """Return the block of 256 addresses around a pod, without that pod."""
    made = peer(cidr=f"@net:{pod}", except_=[f"@block:{pod}"])
    return Kind(f"except-{pod.replace('/', '')}", f"the addresses next to {pod} except its own", made)


FIRST = (*selectors("b", "y"), block("z/b"), block_except("y/b"))
SECOND = (*selectors("c", "z"), block("z/b"), block_except("y/b"))
"""The same kinds with other labels, so that each of two peers lets in somebody of its own."""


def without() -> Iterator[Case]:
    """Yield rules that name ports and nobody."""
    for side in SIDES:
        yield single(
            f"NP-C-peer-none-{side}",
            f"A rule without peers holds for everybody: {side} on one port",
            "peers-0",
            PEERS,
            ask(side, ("x/a",), ("x/b", "y/b", "z/c"), (80, 81)),
            policy(side, [rule(ports=[port(80)])]),
        )


def one() -> Iterator[Case]:
    """Yield one peer of each kind: across nodes and on one node, since the two take different ways."""
    everybody = tuple(f"{namespace}/{pod}" for namespace in "xyz" for pod in "abc")
    for side, kind in itertools.product(SIDES, FIRST):
        for placement, axis, suffix, where in (
            ("cross-node", "peers-1", "", "across nodes"),
            ("same-node", "peers-1-same-node", "-same-node", "on one node"),
        ):
            yield single(
                f"NP-C-peer-{kind.name}-{side}{suffix}",
                f"One peer, {side} {side.word} {kind.words}, {where}",
                axis,
                kind.feature,
                ask(side, ("x/a", "x/b", "x/c"), everybody, placement=placement),
                policy(side, [rule([kind.peer])], pods={}),
            )


def over_udp_and_services() -> Iterator[Case]:
    """Yield the eight selectors over UDP, and through the Services of the destinations."""
    for side, kind in itertools.product(SIDES, selectors("b", "y")):
        rules = [rule([kind.peer])]
        named = f"{side} {side.word} {kind.words}"
        identifier = f"NP-C-peer-{kind.name}-{side}"
        udp = ask(side, ("x/a",), OTHERS, protocols=[UDP])
        yield single(
            f"{identifier}-udp",
            f"One peer, {named}, over UDP",
            "peers-1-udp",
            PEERS,
            udp,
            policy(side, rules),
        )
        yield single(
            f"{identifier}-service",
            f"One peer, {named}, through Services with ports of their own",
            "peers-1-service",
            "networkpolicy/services",
            ask(side, ("x/a",), OTHERS),
            policy(side, rules),
            service=True,
        )


def over_sctp() -> Iterator[Case]:
    """Yield default deny and one selector over SCTP."""
    side = Side.INGRESS
    for name, words, rules in (
        ("rule-none", "A policy without ingress rule denies all ingress", []),
        ("peer-ns-y+pod-b", "One peer, ingress from pods b of namespace y", [rule([FIRST[-3].peer])]),
    ):
        yield single(
            f"NP-C-{name}-{side}-sctp",
            f"{words}, over SCTP",
            "sctp",
            "networkpolicy/sctp",
            ask(side, ("x/a",), OTHERS, protocols=[SCTP]),
            policy(side, rules),
            needs=frozenset({Protocol.SCTP}),
        )


def two() -> Iterator[Case]:
    """Yield two peers in one rule, which are alternatives: every two kinds, and two of one kind."""
    for side in SIDES:
        for i, j in itertools.combinations(range(len(FIRST)), 2):
            yield _pair(side, FIRST[i], SECOND[j], "peers-2")
        for i in (1, 3, 5, 7):
            first, second = FIRST[i], SECOND[i]
            if first != second:
                yield _pair(side, first, second, "peers-2-alike")


def _pair(side: Side, first: Kind, second: Kind, axis: str) -> Case:
    return single(
        f"NP-C-peers-{first.name}.{second.name}-{side}",
        f"Two peers, {side} {side.word} {first.words}, or {side.word} {second.words}",
        axis,
        BLOCKS if BLOCKS in (first.feature, second.feature) else PEERS,
        ask(side, ("x/a",), OTHERS),
        policy(side, [rule([first.peer, second.peer])]),
    )


def cases() -> Iterator[Case]:
    """Return the cases of this module."""
    yield from without()
    yield from one()
    yield from over_udp_and_services()
    yield from two()
    yield from over_sctp()
