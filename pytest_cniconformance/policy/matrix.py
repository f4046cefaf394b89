# SPDX-License-Identifier: Apache-2.0
"""Many verdicts at once: a truth table with explanations, all pairs of pods as masks, or as rulings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_cniconformance.model.matrix import Cell, Decision, Expectation
from pytest_cniconformance.policy.compiled import Direction
from pytest_cniconformance.policy.evaluate import Half, Ruling, combine, decide, itself
from pytest_cniconformance.policy.halves import DESTINATION, SOURCE, Group, Halves
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
    """Decide every pair of pods for one port, class by class and not pair by pair."""
    egress, ingress = (
        Halves(state, d, port, protocol, family) for d in (Direction.EGRESS, Direction.INGRESS)
    )
    # Ingress comes per destination and the rows run per source: turn it round class by class.
    entering: dict[tuple[Group, ...], int] = {}
    for number in range(len(state.pods)):
        groups = ingress.of(number)
        entering[groups] = entering.get(groups, 0) | 1 << number
    admitted = [(*_masks(groups), destinations) for groups, destinations in entering.items()]
    allowed, possible = [], []
    for source in range(len(state.pods)):
        sure, maybe = _masks(egress.of(source))
        entering_sure = entering_maybe = 0
        for sources_sure, sources_maybe, destinations in admitted:
            if sources_sure >> source & 1:
                entering_sure |= destinations
            if sources_maybe >> source & 1:
                entering_maybe |= destinations
        itself = 1 << source
        allowed.append(sure & entering_sure | itself)
        possible.append(maybe & entering_maybe | itself)
    return Reach(state.pods, tuple(allowed), tuple(possible))


def _masks(groups: tuple[Group, ...]) -> tuple[int, int]:
    """Return who is allowed, and who is not denied."""
    sure = possible = 0
    for mask, half in groups:
        if half.decision is Decision.ALLOW:
            sure |= mask
        if half.decision is not Decision.DENY:
            possible |= mask
    return sure, possible


class Rulings:
    """The rulings on all pairs of pods for one port, with reasons.

    Pairs whose two halves are alike share one :class:`Ruling` object, in whose sentences the marks
    ``SOURCE`` and ``DESTINATION`` stand for the two pods; :func:`fill` puts their names in.
    """

    def __init__(self, state: ClusterState, port: int, protocol: str = "TCP", family: str = "ipv4") -> None:
        self._number = state.population.number
        self._halves = {d: Halves(state, d, port, protocol, family) for d in Direction}
        self._columns: dict[tuple[Direction, int], list[Half]] = {}
        self._of_class: dict[int, list[Half]] = {}
        self._combined: dict[tuple[int, int], Ruling] = {}
        self._itself = itself(SOURCE)

    def between(self, source: str, destination: str) -> Ruling:
        """Return the ruling on a pair of ``namespace/pod``, with marks."""
        if source == destination:
            return self._itself
        s, d = self._number[source], self._number[destination]
        egress, ingress = self._half(Direction.EGRESS, s, d), self._half(Direction.INGRESS, d, s)
        key = (id(egress), id(ingress))
        ruling = self._combined.get(key)
        if ruling is None:
            ruling = self._combined[key] = combine(egress, ingress)
        return ruling

    def _half(self, direction: Direction, subject: int, other: int) -> Half:
        column = self._columns.get((direction, subject))
        if column is None:
            groups = self._halves[direction].of(subject)
            column = self._of_class.get(id(groups))
            if column is None:
                column = self._of_class[id(groups)] = [groups[0].half] * len(self._number)
                for mask, half in groups[1:]:
                    for number in bits(mask):
                        column[number] = half
            self._columns[direction, subject] = column
        return column[other]


def fill(ruling: Ruling, source: str, destination: str) -> Ruling:
    """Return a ruling of :class:`Rulings` with the names of its two pods."""
    lines = tuple(line.replace(SOURCE, source).replace(DESTINATION, destination) for line in ruling.because)
    return dataclasses.replace(ruling, because=lines)
