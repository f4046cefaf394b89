# SPDX-License-Identifier: Apache-2.0
"""Many verdicts at once: a truth table with explanations, or all pairs of pods as masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_cniconformance.model.matrix import Cell, Decision, Expectation
from pytest_cniconformance.policy.compiled import Direction, Policy
from pytest_cniconformance.policy.evaluate import decide
from pytest_cniconformance.policy.objects import Pod
from pytest_cniconformance.policy.selectors import bits
from pytest_cniconformance.policy.state import ClusterState


def expected_matrix(state: ClusterState, cells: Iterable[Cell]) -> dict[Cell, Expectation]:
    """Return what the API says of every cell, with the deciding policies and rules.

    Cells name their ends as :func:`~pytest_cniconformance.policy.evaluate.decide` does.

    Raises:
        UsageError: a cell names something that is not in ``state``.
    """
    expected = {}
    for cell in cells:
        ruling = decide(state, cell.source, cell.destination, cell.port, cell.protocol, cell.family)
        expected[cell] = Expectation(ruling.decision, ruling.because)
    return expected


@dataclass(frozen=True, slots=True)
class Reach:
    """All pairs of pods for one port: row ``s`` is the mask of the destinations that pod ``s`` reaches.

    ``allowed`` holds the pairs that the API allows; ``possible`` those that it does not deny.
    """

    pods: tuple[Pod, ...]
    allowed: tuple[int, ...]
    possible: tuple[int, ...]

    def decision(self, source: int, destination: int) -> Decision:
        """Return the decision on a pair of pods by their numbers."""
        if self.allowed[source] >> destination & 1:
            return Decision.ALLOW
        return Decision.UNSPECIFIED if self.possible[source] >> destination & 1 else Decision.DENY


def reach(state: ClusterState, port: int, protocol: str = "TCP", family: str = "ipv4") -> Reach:
    """Decide every pair of pods for one port.

    Pods under the same policies share one computation, so that the cost grows with the number of such
    classes and not with the number of pairs.
    """
    halves = {direction: _Halves(state, direction, port, protocol, family) for direction in Direction}
    # Ingress comes per destination and the rows run per source: turn it round class by class.
    classes: dict[tuple[int, int], int] = {}
    for number in range(len(state.pods)):
        key = halves[Direction.INGRESS].of(number)
        classes[key] = classes.get(key, 0) | 1 << number
    allowed, possible = [], []
    for source in range(len(state.pods)):
        sure, maybe = halves[Direction.EGRESS].of(source)
        entering_sure = entering_maybe = 0
        for (sources_sure, sources_maybe), destinations in classes.items():
            if sources_sure >> source & 1:
                entering_sure |= destinations
            if sources_maybe >> source & 1:
                entering_maybe |= destinations
        itself = 1 << source
        allowed.append(sure & entering_sure | itself)
        possible.append(maybe & entering_maybe | itself)
    return Reach(state.pods, tuple(allowed), tuple(possible))


class _Halves:
    """One direction of all pods: the masks of the other ends that are surely, and possibly, allowed."""

    def __init__(
        self, state: ClusterState, direction: Direction, port: int, protocol: str, family: str
    ) -> None:
        self._state = state
        self._direction = direction
        self._port, self._protocol, self._family = port, protocol, family
        self._cache: dict[tuple[tuple[int, ...], frozenset[str]], tuple[int, int]] = {}
        population = state.population
        self._on_host: dict[str, int] = {}
        for number in bits(population.host_network):
            node = population.pods[number].node
            self._on_host[node] = self._on_host.get(node, 0) | 1 << number

    def of(self, number: int) -> tuple[int, int]:
        """Return (sure, possible) for the pod of this number; ``possible`` includes ``sure``."""
        population = self._state.population
        everyone = population.everyone
        policies = self._state.isolating(number, self._direction)
        if not policies:
            return everyone, everyone
        pod = population.pods[number]
        sure, possible = self._by_policies(policies, pod)
        unknown_node = self._on_host.get("", 0) if pod.node else population.host_network
        own_node = self._on_host.get(pod.node, 0) if pod.node else 0
        if self._direction is Direction.INGRESS:
            sure |= own_node
            possible |= population.host_network
        else:
            possible |= own_node | unknown_node
        if pod.host_network:
            possible = everyone
        return sure, possible | sure

    def _by_policies(self, policies: tuple[Policy, ...], pod: Pod) -> tuple[int, int]:
        ingress = self._direction is Direction.INGRESS
        # For ingress the pod itself resolves port names: pods that name this port alike form one class.
        names = frozenset(
            name
            for (name, protocol), numbers in pod.named.items()
            if ingress and protocol == self._protocol and self._port in numbers
        )
        key = (tuple(map(id, policies)), names)
        if key in self._cache:
            return self._cache[key]
        population = self._state.population
        sure = possible = 0
        for policy in policies:
            for rule in policy.rules(self._direction) or ():
                if ingress:
                    covered = rule.ports.match(self._port, self._protocol, pod.named)
                    scope = population.everyone if covered else 0
                else:
                    scope = population.serving(rule.ports, self._port, self._protocol)
                if not scope:
                    continue
                if rule.peers is None:
                    sure |= scope
                    continue
                for peer in rule.peers:
                    sure |= peer.sure & scope
                    possible |= peer.maybe.get(self._family, 0) & scope
        self._cache[key] = sure, possible
        return sure, possible
