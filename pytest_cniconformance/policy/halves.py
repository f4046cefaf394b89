# SPDX-License-Identifier: Apache-2.0
"""One direction of all pods at once: each pod's other ends, in groups that share a decision and its reason.

Pods under the same policies share one computation on bit masks, so that the cost grows with the number of
such classes and not with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pytest_cniconformance.model.matrix import Decision
from pytest_cniconformance.policy.compiled import Direction, Policy, Rule
from pytest_cniconformance.policy.evaluate import Half
from pytest_cniconformance.policy.objects import Pod
from pytest_cniconformance.policy.peers import Peer
from pytest_cniconformance.policy.reasons import (
    DOUBTS,
    HOST_NETWORK,
    L4,
    NEAR_MISSES,
    OWN_NODE,
    REMOTE_NODE,
    Sentences,
    block_covers,
    block_may_cover,
)
from pytest_cniconformance.policy.selectors import bits
from pytest_cniconformance.policy.state import ClusterState

SOURCE, DESTINATION = "\ue000", "\ue001"
"""Marks (private-use characters) that stand for the two ends in the sentences of a group."""


class Group(NamedTuple):
    """Other ends that share the half of a ruling."""

    mask: int
    half: Half


class Halves:
    """One direction of all pods for one port."""

    def __init__(
        self, state: ClusterState, direction: Direction, port: int, protocol: str, family: str
    ) -> None:
        self._state = state
        self._population = state.population
        self._direction = direction
        self._port, self._protocol, self._family = port, protocol, family
        me, other = (SOURCE, DESTINATION) if direction is Direction.EGRESS else (DESTINATION, SOURCE)
        self._say = Sentences(me, other, direction, port, protocol)
        self._free = (Group(self._population.everyone, Half(Decision.ALLOW, self._say.free())),)
        self._classes: dict[object, tuple[Group, ...]] = {}
        self._by_number: dict[int, tuple[Group, ...]] = {}
        self._on_host: dict[str, int] = {}
        for number in bits(self._population.host_network):
            node = self._population.pods[number].node
            self._on_host[node] = self._on_host.get(node, 0) | 1 << number

    def of(self, number: int) -> tuple[Group, ...]:
        """Return the groups of the pod of this number; pods of one class get the very same tuple."""
        if number not in self._by_number:
            self._by_number[number] = self._of_class(number)
        return self._by_number[number]

    def _of_class(self, number: int) -> tuple[Group, ...]:
        policies = self._state.isolating(number, self._direction)
        if not policies:
            return self._free
        pod = self._population.pods[number]
        own_node = self._on_host.get(pod.node, 0) if pod.node else 0
        if self._direction is Direction.EGRESS:
            own_node |= self._on_host.get("", 0) if pod.node else self._population.host_network
        # For ingress the pod itself resolves port names: pods that name this port alike form one class.
        names = frozenset(
            name
            for (name, protocol), numbers in pod.named.items()
            if self._direction is Direction.INGRESS and protocol == self._protocol and self._port in numbers
        )
        key = (tuple(map(id, policies)), names, own_node, pod.host_network)
        if key not in self._classes:
            self._classes[key] = tuple(self._groups(policies, pod, own_node))
        return self._classes[key]

    def _groups(self, policies: tuple[Policy, ...], pod: Pod, own_node: int) -> Iterator[Group]:
        rest = self._population.everyone
        if self._direction is Direction.INGRESS and own_node:
            yield Group(own_node, Half(Decision.ALLOW, self._say.local()))
            rest &= ~own_node
        if self._protocol not in L4:
            yield Group(rest, Half(Decision.UNSPECIFIED, self._say.undefined(policies)))
            return
        doubts: list[tuple[int, str]] = []
        near: list[tuple[int, str]] = []
        for policy in policies:
            for rule in policy.rules(self._direction) or ():
                scope = self._covered(rule, pod)
                for number, peer in enumerate(rule.peers) if rule.peers is not None else ((None, None),):
                    sure, maybe = self._matched(peer)
                    if not (sure | maybe) & rest:
                        continue
                    place = self._say.place(policy, rule, number)
                    if sure & scope & rest:
                        yield Group(sure & scope & rest, Half(Decision.ALLOW, self._say.allowed(place)))
                        rest &= ~(sure & scope)
                    if peer is not None and maybe & scope & rest:
                        doubts += self._doubts(place, peer, maybe & scope)
                    if (sure | maybe) & ~scope & rest:
                        near.append(((sure | maybe) & ~scope, self._say.near(place, rule)))
        yield from self._undecided(rest, doubts, near, policies, pod, own_node)

    def _undecided(
        self,
        rest: int,
        doubts: list[tuple[int, str]],
        near: list[tuple[int, str]],
        policies: tuple[Policy, ...],
        pod: Pod,
        own_node: int,
    ) -> Iterator[Group]:
        """Yield the groups of those whom no rule surely allows."""
        for mask, texts in _refine(rest, doubts, DOUBTS):
            if texts:
                yield Group(mask, Half(Decision.UNSPECIFIED, "; ".join(texts)))
                continue
            if pod.host_network:
                exempt, why = mask, HOST_NETWORK
            elif self._direction is Direction.INGRESS:
                exempt, why = mask & self._population.host_network, REMOTE_NODE
            else:
                exempt, why = mask & own_node, OWN_NODE
            for inside, misses in _refine(mask, near, NEAR_MISSES):
                denied = self._say.denied(policies, misses)
                if inside & exempt:
                    yield Group(inside & exempt, Half(Decision.UNSPECIFIED, f"{denied}; but {why}"))
                if inside & ~exempt:
                    yield Group(inside & ~exempt, Half(Decision.DENY, denied))

    def _covered(self, rule: Rule, pod: Pod) -> int:
        """Return the mask of the other ends to whom the rule's ports apply."""
        if self._direction is Direction.EGRESS:
            return self._population.serving(rule.ports, self._port, self._protocol)
        return self._population.everyone if rule.ports.match(self._port, self._protocol, pod.named) else 0

    def _matched(self, peer: Peer | None) -> tuple[int, int]:
        if peer is None:
            return self._population.everyone, 0
        return peer.sure, peer.maybe.get(self._family, 0)

    def _doubts(self, place: str, peer: Peer, mask: int) -> Iterator[tuple[int, str]]:
        if peer.block is None:
            yield mask, self._say.doubtful(place, HOST_NETWORK)
            return
        on_host, bare = self._population.host_network, self._population.unaddressed
        yield mask & ~on_host & ~bare, self._say.doubtful(place, block_covers(peer.text, host_network=False))
        yield mask & on_host & ~bare, self._say.doubtful(place, block_covers(peer.text, host_network=True))
        yield mask & bare, self._say.doubtful(place, block_may_cover(peer.text, self._say.other))


def _refine(whole: int, parts: list[tuple[int, str]], limit: int) -> list[tuple[int, list[str]]]:
    """Split a mask so that in each piece the same parts apply, and name them in order, at most ``limit``."""
    pieces: list[tuple[int, list[str]]] = [(whole, [])] if whole else []
    for mask, text in parts:
        split = []
        for piece, texts in pieces:
            inside = piece & mask if len(texts) < limit else 0
            if inside:
                split.append((inside, [*texts, text]))
            if piece & ~inside:
                split.append((piece & ~inside, texts))
        pieces = split
    return pieces
