# SPDX-License-Identifier: Apache-2.0
"""What the axes have in common: policies of one direction, and the pods that they are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import Obj, Rule, Selector, network_policy
from pytest_cniconformance.policy.cases.case import Ask

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
POD_A = {"pod": "a"}
OTHERS = ("x/b", "x/c", "y/b", "y/c", "z/b", "z/c")
"""For a subject in ``x``: pods b and c of its own namespace and of two others."""


class Side(StrEnum):
    """The direction of a policy, seen from the pod that it selects."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def type(self) -> str:
        """The policy type."""
        return self.capitalize()

    @property
    def word(self) -> str:
        """The preposition of its peers."""
        return "from" if self is Side.INGRESS else "to"


SIDES = tuple(Side)


def policy(
    side: Side,
    rules: Sequence[Rule] = (),
    pods: Selector = POD_A,
    *,
    name: str = "case",
    namespace: str = "x",
) -> Obj:
    """Return a policy of one direction with these rules: none of them denies everything."""
    made: dict[str, Any] = {side.value: list(rules)} if rules else {}
    return network_policy(name, namespace, pods, types=[side.type], **made)


def ask(
    side: Side,
    subjects: Sequence[str],
    others: Sequence[str],
    ports: Sequence[int] = (80,),
    protocols: Sequence[Protocol] = (TCP,),
    placement: str = "any",
) -> Ask:
    """Return the question between the subjects of policies of one direction and other pods."""
    sources, destinations = (others, subjects) if side is Side.INGRESS else (subjects, others)
    return Ask(tuple(sources), tuple(destinations), tuple(ports), tuple(protocols), placement)
