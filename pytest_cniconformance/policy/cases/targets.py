# SPDX-License-Identifier: Apache-2.0
"""Whom a policy selects, and what it means to have no rule or a rule that is empty."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_cniconformance.policy.builders import Obj, expression, matching, peer, rule
from pytest_cniconformance.policy.cases.case import DOCS, Case, single
from pytest_cniconformance.policy.cases.shapes import SIDES, TCP, UDP, Side, ask, policy

ISOLATION, PEERS = "networkpolicy/isolation", "networkpolicy/peers"


def targets() -> Iterator[Case]:
    """Yield default deny for six choices of pods; the pods that are not chosen stay open."""
    for side in SIDES:
        kinds: dict[str, tuple[str, tuple[Obj, ...]]] = {
            "all": ("all pods of a namespace", (policy(side, pods={}),)),
            "other-namespace": ("all pods of another namespace", (policy(side, pods={}, namespace="y"),)),
            "pod-a": ("the pods with a label", (policy(side),)),
            "pod-in-a+b": (
                "the pods whose label is one of two",
                (policy(side, pods=matching(expression("pod", "In", "a", "b"))),),
            ),
            "pod-not-in-a": (
                "the pods whose label is not a certain one",
                (policy(side, pods=matching(expression("pod", "NotIn", "a"))),),
            ),
            "nobody": (
                "no pod at all, which keeps no other policy from its work",
                (policy(side, pods={"pod": "nobody"}), policy(side, pods={"pod": "b"}, name="somebody")),
            ),
        }
        question = ask(side, ("x/a", "x/b", "x/c", "y/a", "y/b"), ("z/a", "z/c"))
        for name, (whom, policies) in kinds.items():
            axis = "target" if side is Side.INGRESS else "target-egress"
            title = f"Default deny of {side} selects {whom}"
            yield single(f"NP-C-target-{name}-{side}", title, axis, ISOLATION, question, *policies)


def rules() -> Iterator[Case]:
    """Yield policies without rule, which deny all, and with an empty one, which allows all; over TCP and UDP."""
    for side in SIDES:
        for protocol in (TCP, UDP):
            twin = "" if protocol is TCP else "-udp"
            axis = "rule" if protocol is TCP else "rule-udp"
            over = "" if protocol is TCP else " over UDP"
            question = ask(side, ("x/a",), ("x/b", "x/c", "y/a", "y/b", "z/c"), protocols=[protocol])
            yield single(
                f"NP-C-rule-none-{side}{twin}",
                f"A policy without {side} rule denies all {side}{over}",
                axis,
                ISOLATION,
                question,
                policy(side, pods={}),
            )
            yield single(
                f"NP-C-rule-empty-{side}{twin}",
                f"An empty {side} rule allows all {side}{over}",
                axis,
                ISOLATION,
                question,
                policy(side, [rule()], pods={}),
            )


def default_label() -> Iterator[Case]:
    """Yield selections of a namespace by the label that the API server gives to each."""
    key = "kubernetes.io/metadata.name"
    choices = {
        "label": ("by matchLabels", {key: "@ns:y"}),
        "expression": ("by matchExpressions", matching(expression(key, "In", "@ns:y", "@ns:none"))),
    }
    for name, (how, chosen) in choices.items():
        yield single(
            f"NP-C-namespace-name-{name}-ingress",
            f"A namespace is selected by its automatic name label, {how}",
            "default-label",
            PEERS,
            ask(Side.INGRESS, ("x/a",), ("x/b", "y/a", "y/b", "z/b")),
            policy(Side.INGRESS, [rule([peer(namespaces=chosen)])]),
            source=DOCS + "#targeting-a-namespace-by-its-name",
        )


def cases() -> Iterator[Case]:
    """Return the cases of this module."""
    yield from targets()
    yield from rules()
    yield from default_label()
