# SPDX-License-Identifier: Apache-2.0
"""The generated case space: it is whole, every case decides something, and no two decide the same."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator

import pytest

from pytest_cniconformance.cli.catalogue import entries
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy import ClusterState, expected_matrix
from pytest_cniconformance.policy.cases import CASES, INTENTS, Ask, Case, located
from pytest_cniconformance.policy.cases.case import (
    AddNamespace,
    AddPod,
    Apply,
    Delete,
    LabelNamespace,
    LabelPod,
    RemovePod,
)

NODES = {
    "x/a": 0, "x/b": 0, "x/c": 1, "y/a": 1, "y/b": 1, "y/c": 2, "z/a": 2, "z/b": 2, "z/c": 0,
}  # fmt: skip
SPACE = {
    "target": 6, "rule": 4, "peers-0": 2, "peers-1": 20, "peers-2": 90, "ports-0": 2, "ports-1": 54, "ports-2": 14,
    "conflicts": 16, "actions": 6, "default-label": 2, "example": 1, "upstream": 13,
}  # fmt: skip
"""The published size of the generator space, part by part: 230 cases."""


class World:
    """What a grid would be, without a cluster: nine pods on three nodes, and the objects of one case."""

    def __init__(self) -> None:
        self.namespaces = {name: {"ns": name} for name in "xyz"}
        self.pods = {key: {"pod": key[-1]} for key in NODES}
        self.policies: dict[str, dict] = {}

    def address(self, key: str) -> str:
        return f"10.{NODES.get(key, 9)}.0.{10 + list(self.pods).index(key)}"

    def act(self, action: object) -> None:
        match action:
            case Apply(policy):
                placed = located(policy, str, self.address)
                self.policies[f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"] = placed
            case Delete(policy):
                del self.policies[f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"]
            case LabelPod(pod, labels):
                self.pods[pod] = {k: v for k, v in {**self.pods[pod], **labels}.items() if v is not None}
            case LabelNamespace(name, labels):
                merged = {**self.namespaces[name], **labels}
                self.namespaces[name] = {k: v for k, v in merged.items() if v is not None}
            case AddNamespace(name, labels):
                self.namespaces[name] = {"ns": name, **labels}
            case AddPod(pod):
                self.pods[pod] = {"pod": pod[-1]}
            case RemovePod(pod):
                del self.pods[pod]

    def state(self) -> ClusterState:
        ports = [
            {"containerPort": n, "protocol": p, "name": f"serve-{n}-{p.lower()}"}
            for n in (80, 81, 82)
            for p in ("TCP", "UDP", "SCTP")
        ]
        spaces = [
            {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in self.namespaces.items()
        ]
        pods = [
            {
                "kind": "Pod",
                "metadata": {
                    "namespace": key.partition("/")[0],
                    "name": key.partition("/")[2],
                    "labels": labels,
                },
                "spec": {"nodeName": f"n{NODES.get(key, 0)}", "containers": [{"ports": ports}]},
                "status": {"podIP": self.address(key)},
            }
            for key, labels in self.pods.items()
        ]
        return ClusterState.from_objects([*spaces, *pods, *self.policies.values()])


def cells(ask: Ask, sctp: bool = True) -> list[Cell]:
    near = {"same-node": (True,), "cross-node": (False,), "any": (True, False)}[ask.placement]
    return [
        Cell(s, d, port, protocol)
        for s in ask.sources
        for d in ask.destinations
        for port in ask.ports
        for protocol in ask.protocols
        if s != d and (NODES.get(s) == NODES.get(d)) in near and (sctp or protocol is not Protocol.SCTP)
    ]


def played(case: Case, *, sctp: bool = True) -> Iterator[tuple[World, dict[Cell, Expectation]]]:
    """Yield the world and what the oracle expects, after each step."""
    world = World()
    for step in case.steps:
        for action in step.actions:
            world.act(action)
        expected = expected_matrix(world.state(), cells(step.ask, sctp))
        yield world, {c: e for c, e in expected.items() if e.decision is not Decision.UNSPECIFIED}


def test_the_whole_generator_space_is_covered() -> None:
    found = collections.Counter(case.axis for case in CASES)
    assert {axis: found[axis] for axis in SPACE} == SPACE
    assert sum(SPACE.values()) == 230


def test_every_intent_of_upstream_has_a_requirement_that_decides_it() -> None:
    groups = collections.Counter(intent.partition(":")[0] for intent in INTENTS if ":" in intent)
    assert groups == {"UDP": 3, "SCTP": 3} and len(INTENTS) == 48
    assert set(INTENTS.values()) <= {entry.requirement.id for entry in entries()}


def test_the_catalogue_lists_every_case_with_its_own_node_id() -> None:
    listed = {entry.requirement: entry.nodeid for entry in entries()}
    assert {case.id: listed[case.requirement] for case in CASES} == {
        case.id: f"test_netpol_cases.py::test_case[{case.id}]" for case in CASES
    }


def test_ids_are_stable_words_and_unique() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"NP-C-[A-Za-z0-9.+-]{1,55}", id) for id in ids)
    assert len({case.title for case in CASES}) == len(CASES)


def test_enough_of_it_runs_where_nothing_speaks_sctp() -> None:
    assert sum(not case.needs for case in CASES) >= 270


def test_no_two_cases_are_the_same() -> None:
    known: dict[str, str] = {}
    for case in CASES:
        content = repr(
            (case.steps[0].actions, [(s.actions, s.ask) for s in case.steps[1:]], case.steps[0].ask)
        )
        content += str(case.service)
        assert known.setdefault(content, case.id) == case.id


@pytest.mark.parametrize("axis", sorted({case.axis for case in CASES}))
def test_every_case_decides_something_that_can_fail(axis: str) -> None:
    """Some cell is denied, or is allowed by a rule of a policy that isolates: what ignores or loses rules shows."""
    for case in (c for c in CASES if c.axis == axis):
        steps = list(played(case, sctp=bool(case.needs)))
        assert all(expected for _, expected in steps), case.id
        denied = any(e.decision is Decision.DENY for _, expected in steps for e in expected.values())
        by_rule = any(" rule " in " ".join(e.because) for _, expected in steps for e in expected.values())
        assert denied or by_rule, case.id


@pytest.mark.parametrize("axis", sorted({case.axis for case in CASES}))
def test_the_topologies_are_small(axis: str) -> None:
    for case in (c for c in CASES if c.axis == axis):
        assert max(len(cells(step.ask)) for step in case.steps) <= 24, case.id
