# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies of cases: topologies, sets of policies, and what becomes of them; and how a seed draws cases.

Random cases that disagree are shrunk by :mod:`pytest_cniconformance.policy.randomcases.shrink`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from hypothesis import Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from pytest_cniconformance.policy.randomcases.case import Case, Stage
from pytest_cniconformance.policy.randomcases.policies import (
    COIN,
    VALUES,
    Obj,
    invalid_policies,
    labels,
    pick,
    plain_policies,
    policies,
    rarely,
)
from pytest_cniconformance.policy.randomcases.pool import LABEL_KEYS, POOL, namespaces_of
from pytest_cniconformance.policy.selectors import matches

_ATTEMPTS = 100


@st.composite
def stages(draw: st.DrawFn, pods: tuple[str, ...], *, outside: bool) -> Stage:
    """Return labels for all pods and their namespaces, and one to four policies, or one plain policy."""
    namespaces = {name: draw(labels()) for name in namespaces_of(pods)}
    labelled = {pod: draw(labels()) for pod in pods}
    made: list[Obj] = []
    if draw(COIN):
        return Stage(namespaces, labelled, (draw(plain_policies("p0", pods, outside=outside)),))
    while not made or (len(made) < 4 and draw(COIN)):
        made.append(draw(policies(f"p{len(made)}", pods, outside=outside)))
    return Stage(namespaces, labelled, tuple(made))


@st.composite
def revisions(draw: st.DrawFn, policy: Obj, pods: tuple[str, ...], *, outside: bool) -> Obj:
    """Return a policy of the same name, one part of which, or all of it, is another."""
    metadata, spec = policy["metadata"], policy["spec"]
    made: Obj = draw(policies(metadata["name"], pods, outside=outside, home=metadata["namespace"]))
    part = pick(draw, ("spec", "podSelector", "policyTypes", "ingress", "egress"))
    if part != "spec":
        rest = {key: value for key, value in spec.items() if key != part}
        made["spec"] = {key: made["spec"][key] for key in (part,) if key in made["spec"]} | rest
    return made


@st.composite
def updates(draw: st.DrawFn, before: Stage, *, outside: bool) -> Stage:
    """Return what may follow a stage: some labels and policies are kept, others change, go or come."""

    def relabelled(owners: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
        return {owner: draw(labels()) if rarely(draw) else kept for owner, kept in owners.items()}

    pods = tuple(before.pods)
    made: list[Obj] = []
    for policy in before.policies:
        fate = pick(draw, ("changed", "kept", "gone", "changed"))
        if fate != "gone":
            made.append(policy if fate == "kept" else draw(revisions(policy, pods, outside=outside)))
    if not made or rarely(draw):
        made.append(draw(policies(f"p{len(before.policies)}", pods, outside=outside)))
    return Stage(relabelled(before.namespaces), relabelled(before.pods), tuple(made))


@st.composite
def one_request(draw: st.DrawFn, before: Stage, *, outside: bool) -> Stage:
    """Return what follows a stage by one request to the API: a policy changes, comes or goes, or labels change."""
    kind = pick(draw, ("policy", "policy", "pod", "policy", "namespace", "new", "policy", "gone"))
    pods = tuple(before.pods)
    if kind == "pod":
        return replace(before, pods={**before.pods, pick(draw, pods): draw(labels())})
    if kind == "namespace":
        name = pick(draw, tuple(before.namespaces))
        return replace(before, namespaces={**before.namespaces, name: draw(labels())})
    if kind == "new":
        made = draw(policies(f"p{len(before.policies)}", pods, outside=outside))
        return replace(before, policies=(*before.policies, made))
    chosen = pick(draw, range(len(before.policies)))
    revised = () if kind == "gone" else (draw(revisions(before.policies[chosen], pods, outside=outside)),)
    kept = before.policies
    return replace(before, policies=(*kept[:chosen], *revised, *kept[chosen + 1 :]))


@st.composite
def heirs(draw: st.DrawFn, case: Case) -> Case:
    """Return a case of one stage and one policy, in which a pod gets the address of a finished one.

    A peer selects the labels of one of the two only, where there is such a peer: else nothing tells whether the
    address has kept the labels of the pod that finished.
    """
    policy = draw(plain_policies("p0", case.pods, kinds=("peers",)))
    stage = replace(case.stages[0], policies=(policy,))
    others = {pod: _told_apart(policy, own) for pod, own in stage.pods.items()}
    heir = pick(draw, [pod for pod in others if others[pod]] or case.pods)
    inherited = pick(draw, others[heir]) if others[heir] else draw(labels())
    return Case((stage,), replaced=heir, inherited=inherited)


def _told_apart(policy: Obj, own: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the labels that a peer's podSelector selects, though it does not select a pod's own labels."""
    rules = [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
    peers = [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]
    strict = [peer["podSelector"] for peer in peers if not matches(peer.get("podSelector", {}), own)]
    return [other for other in _EVERY_LABELLING if any(matches(selector, other) for selector in strict)]


_EVERY_LABELLING = [
    {key: value for key, value in zip(LABEL_KEYS, values, strict=True) if value is not None}
    for values in itertools.product((None, *dict.fromkeys(VALUES)), repeat=len(LABEL_KEYS))
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return a case of one to six pods; one in four has a second stage, which updates the first."""
    pods = tuple(pod for pod in POOL if not rarely(draw)) or POOL[:1]
    outside = draw(COIN)
    case = Case((draw(stages(pods, outside=outside)),), outside, services=rarely(draw), nodes=rarely(draw))
    if rarely(draw):
        first = case.stages[0]
        watched = draw(COIN)
        second = draw(one_request(first, outside=outside) if watched else updates(first, outside=outside))
        hurried = not watched and rarely(draw)
        case = replace(case, stages=(first, second), watched=watched, hurried=hurried)
    if rarely(draw, 3):
        case = draw(heirs(case)) if draw(COIN) else replace(case, replaced=pick(draw, pods))
    if rarely(draw, 5):
        case = replace(case, refused=draw(invalid_policies("refused", pods)))
    return replace(case, crowded=rarely(draw, 5))


class _Enough(BaseException):
    """Leaves Hypothesis at once; it would take an Exception for a failure and try to repeat it."""


def visit_cases(
    seed: int | str,
    count: int,
    visit: Callable[[Case], bool],
    *,
    wanted: Callable[[Case], bool] | None = None,
) -> None:
    """Draw ``count`` different cases that are ``wanted``, until ``visit`` returns False.

    The same seed draws the same cases in the same order (with the same version of Hypothesis).
    """
    seen: dict[str, None] = {}

    def once(case: Case) -> bool:
        if case.key in seen or (wanted is not None and not wanted(case)):
            return False
        seen[case.key] = None
        try:
            going_on = visit(case)
        except Exception as error:
            raise _Enough from error
        if not going_on or len(seen) == count:
            raise _Enough
        return False

    # Each case is drawn anew: within one search Hypothesis makes most examples of pieces of earlier ones, and a
    # hundred cases come down to a dozen ideas. Its first example is always the simplest, which counts once.
    chosen = settings(
        max_examples=2,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )
    for attempt in range(_ATTEMPTS * count):
        try:
            find(cases(), once, settings=chosen, random=Random(f"{seed}/{attempt}"))
        except NoSuchExample:
            continue
        except _Enough as enough:
            if enough.__cause__ is not None:
                raise enough.__cause__ from None
            return
