# SPDX-License-Identifier: Apache-2.0
"""One random case: the pods that take part, the labels and policies that hold one after the other, and what happens.

A case says nothing that only a cluster knows, so that one seed draws the same cases everywhere: address blocks
are written around :mod:`~pytest_cniconformance.policy.randomcases.anchors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from pytest_cniconformance.policy.builders import INGRESS, network_policy
from pytest_cniconformance.policy.randomcases.pool import POOL


class Moment(StrEnum):
    """What holds while a case is asked."""

    REFUSAL = "refusal"
    """Nothing yet: the API server was asked to take an invalid policy."""
    STAGE = "stage"
    """The labels and policies of one stage."""
    UPDATE = "update"
    """Those of a stage or of the one before it: at each pod, at every instant, one of the two."""
    LEAVING = "leaving"
    """The last stage, while the replaced pod is being deleted."""
    RENEWED = "renewed"
    """The last stage, with the replaced pod created again."""
    AFTER = "after"
    """No policy any more."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Labels and policies that hold at one time. Policies are unresolved objects, with logical namespaces."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Mapping[str, Mapping[str, str]]
    policies: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: ``stages`` follow one another by update, and after the last all policies are deleted."""

    stages: tuple[Stage, ...]
    outside: bool = False
    """An address outside the cluster is a destination too."""
    hurried: bool = False
    """Stages follow at once, and only the last one is compared."""
    services: bool = False
    """The Service before each pod but the twins is a destination too."""
    crowded: bool = False
    """There are policies before those of the case that select nobody: dataplanes have limits."""
    nodes: bool = False
    """The node of each pod is a source for it."""
    watched: bool = False
    """Forbidden connections are tried all the time while the second stage replaces the first by a single request."""
    replaced: str = ""
    """A pod that is deleted under the policies of the last stage, and created again; empty for none."""
    inherited: Mapping[str, str] | None = None
    """Labels of a pod that has finished, whose address the replaced pod gets; None for an address of its own."""
    refused: dict[str, Any] | None = None
    """An invalid policy that the API server is asked to take beforehand."""

    @property
    def pods(self) -> tuple[str, ...]:
        """The pods that take part."""
        return tuple(self.stages[0].pods)

    @property
    def policies(self) -> int:
        """How many policies a reader has to look at: those of the fullest stage, and the invalid one."""
        return max(len(stage.policies) for stage in self.stages) + (self.refused is not None)

    @property
    def key(self) -> str:
        """The same text for the same case; :meth:`parse` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str | bytes) -> Case:
        """Read what :attr:`key` wrote. Raises ValueError for anything else."""
        try:
            data = json.loads(text)
            stages = [
                Stage(
                    stage["namespaces"],
                    {pod: stage["pods"][pod] for pod in POOL if pod in stage["pods"]},
                    tuple(stage["policies"]),
                )
                for stage in data["stages"]
            ]
            return cls(tuple(stages), **{name: data.get(name, least) for name, least in EXTRAS.items()})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no case: {error!r}") from None

    @property
    def size(self) -> tuple[int, ...]:
        """What a reader wants least of, most important first; smaller is better."""
        return (len(self.stages), self.policies, len(self.pods), len(self.key))


EXTRAS: Mapping[str, Any] = {field.name: field.default for field in fields(Case) if field.name != "stages"}
"""What a case may have beside its stages, and what the simplest case has of it."""


PLAINEST = Case(
    (Stage({"x": {}}, {"x/a": {}, "x/b": {}}, (network_policy("p0", "x", {}, types=[INGRESS]),)),)
)
"""Two pods are closed to one another and opened again."""


def requests_between(before: Stage, after: Stage) -> int:
    """Return how many requests to the API lead from one stage to the next: one for each object that is another."""
    old = {str(policy["metadata"]): policy for policy in before.policies}
    new = {str(policy["metadata"]): policy for policy in after.policies}
    return sum(
        one.get(key) != other.get(key)
        for one, other in (
            (old, new),
            (before.pods, after.pods),
            (before.namespaces, after.namespaces),
        )
        for key in one.keys() | other.keys()
    )


def deviations(case: Case) -> frozenset[str]:
    """Return the requirements, of those that profiles know to be deviated from, that a case depends on."""
    found = set()
    for stage in case.stages:
        for policy in stage.policies:
            spec = policy["spec"]
            types = spec.get("policyTypes") or ("Ingress", "Egress")
            if any(spec.get(kind.lower()) and kind not in types for kind in ("Ingress", "Egress")):
                found.add("NP-DEF-2")
            ports = [port for rule in spec.get("egress") or () for port in rule.get("ports") or ()]
            if any(isinstance(port.get("port"), str) for port in ports):
                found.add("NP-PRT-5")
    if case.replaced:
        found |= {"NP-DYN-6-INGRESS", "NP-DYN-6-EGRESS", "NP-DYN-9", "NP-DYN-10"}
    if case.inherited is not None:
        found.add("NP-DYN-8")
    if case.nodes:
        found.add("NP-NODE-1")
    if case.watched:
        found.add("NP-CONV-UPDATE")
    return frozenset(found)
