# SPDX-License-Identifier: Apache-2.0
"""Change: policies, labels, pods and namespaces come, change and go, and the verdicts follow."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_cniconformance.policy.builders import peer, rule
from pytest_cniconformance.policy.cases.case import (
    Action,
    AddNamespace,
    AddPod,
    Apply,
    Ask,
    Case,
    Delete,
    LabelNamespace,
    LabelPod,
    RemovePod,
    Step,
)
from pytest_cniconformance.policy.cases.shapes import SIDES, Side, ask, policy

DYNAMICS = "networkpolicy/dynamics"
GUEST = {"guest": "yes"}
NO_GUEST = {"guest": None}


def changes(side: Side, axis: str) -> Iterator[Case]:
    """Yield the changes of a policy, and of the labels of its peers, in one direction."""
    question = ask(side, ("x/a",), ("x/b", "y/b", "z/c"))

    def of(*names: str) -> Apply:
        rules = [rule([peer(namespaces={"ns": name})]) for name in names]
        return Apply(policy(side, rules))

    yield _case(
        f"policy-update-{side}",
        f"An updated policy takes effect, {side}",
        axis,
        question,
        (f"{side.word} y", of("y")),
        (f"{side.word} z", of("z")),
        ("nobody", of()),
    )
    guests = Apply(policy(side, [rule([peer(pods=GUEST)])]))
    yield _case(
        f"pod-label-{side}",
        f"A pod becomes a peer by its label and ceases to be one, {side}",
        axis,
        question,
        ("nobody has the label", guests),
        ("x/b has it", LabelPod("x/b", GUEST)),
        ("nobody has it any more", LabelPod("x/b", NO_GUEST)),
    )
    guest_spaces = Apply(policy(side, [rule([peer(namespaces=GUEST)])]))
    yield _case(
        f"namespace-label-{side}",
        f"A namespace becomes a peer by its label and ceases to be one, {side}",
        axis,
        question,
        ("no namespace has the label", guest_spaces),
        ("y has it", LabelNamespace("y", GUEST)),
        ("none has it any more", LabelNamespace("y", NO_GUEST)),
    )


def comings_and_goings() -> Iterator[Case]:
    """Yield what comes and goes: policies, pods, namespaces."""
    side = Side.INGRESS
    question = ask(side, ("x/a",), ("x/b", "y/b", "z/c"))
    deny = policy(side)
    yield _case(
        "policy-delete",
        "A deleted policy leaves nothing behind, and holds again when it comes back",
        "actions",
        question,
        ("the policy", Apply(deny)),
        ("no policy", Delete(deny)),
        ("the policy again", Apply(deny)),
    )
    newcomers = policy(side, [rule([peer(pods={"pod": "d"})])], {})
    yield Case(
        "NP-C-change-pod-create",
        "A pod that comes under existing policies is isolated by them and is a peer of them",
        "actions",
        DYNAMICS,
        (
            Step("before the pod", (Apply(newcomers),), question),
            Step("x/d is there", (AddPod("x/d"),), Ask(("x/b", "x/d", "y/b"), ("x/a", "x/d"))),
            Step("x/d is gone", (RemovePod("x/d"),), question),
        ),
    )
    strangers = policy(side, [rule([peer(namespaces={"ns": "v"})])])
    yield Case(
        "NP-C-change-namespace-create",
        "A namespace that comes after a policy is a peer of it",
        "actions",
        DYNAMICS,
        (
            Step("before the namespace", (Apply(strangers),), question),
            Step(
                "v is there", (AddNamespace("v"), AddPod("v/a")), Ask(("v/a", "x/b", "y/b"), ("x/a",))
            ),
        ),
    )  # fmt: skip


def _case(name: str, title: str, axis: str, question: Ask, *steps: tuple[str, Action]) -> Case:
    made = tuple(Step(text, (action,), question) for text, action in steps)
    return Case(f"NP-C-change-{name}", title, axis, DYNAMICS, made)


def cases() -> Iterator[Case]:
    """Return the cases of this module: six with ingress, and those of them again whose egress is another matter."""
    yield from comings_and_goings()
    for side in SIDES:
        yield from changes(side, "actions" if side is Side.INGRESS else "actions-egress")
