# SPDX-License-Identifier: Apache-2.0
"""From a case that disagrees to the smallest one that still does, in as few questions as possible.

Hypothesis could do this, but it minimises the bits behind a case in hundreds of questions, and each of them costs
a cluster a second. Here a question takes away what a reader would: all but two pods, all but one policy, then
sections, rules, peers, ports, selectors and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_cniconformance.policy.randomcase import FLAGS, Addresses, Case, Stage, namespaces_of
from pytest_cniconformance.policy.validate import invalid

Cuts = Callable[[Case], Iterable[Case]]

_NOWHERE = Addresses()


def shrink(case: Case, disagrees: Callable[[Case], bool], *, pods: Sequence[str] = ()) -> Case:
    """Return the smallest case found that disagrees.

    Args:
        case: one that disagrees.
        disagrees: the question; asked once for each case. What it raises ends the search: a caller with a time box
            keeps the last case that it answered with True.
        pods: the pods of a cell that disagrees; tried first, on their own.
    """
    answers = {case.key: True}

    def ask(candidate: Case) -> bool:
        if candidate.key not in answers:
            answers[candidate.key] = disagrees(candidate)
        return answers[candidate.key]

    case = next((leap for leap in _leaps(case, pods) if ask(leap)), case)
    before = None
    while case != before:
        before = case
        for cuts in (_without_stage, _without_policy, _without_pod, _without_piece, _without_label):
            case = _exhaust(case, cuts, ask)
    return case


def _exhaust(case: Case, cuts: Cuts, ask: Callable[[Case], bool]) -> Case:
    """Make all cuts that keep the disagreement; after a success the next cut is at the same place."""
    place = 0
    while True:
        candidates = list(cuts(case))
        if place >= len(candidates):
            return case
        if ask(candidates[place]):
            case = candidates[place]
        else:
            place += 1


def _leaps(case: Case, pods: Sequence[str]) -> Iterator[Case]:
    """Yield big cuts at once: the last stage alone, the pods that matter alone, one policy alone."""
    for chosen in (case.stages[-1:], case.stages):
        hurried = case.hurried and len(chosen) > 1
        focused = replace(case, stages=chosen, outside=case.outside and len(pods) < 2, hurried=hurried)
        kept = pods or case.pods
        if len(chosen) == 1:
            for policy in reversed(chosen[0].policies):
                alone = replace(chosen[0], policies=(policy,))
                yield _with_pods(replace(focused, stages=(alone,)), kept)
        focused = _with_pods(focused, kept)
        yield focused


def _with_pods(case: Case, pods: Sequence[str]) -> Case:
    stages = []
    for stage in case.stages:
        homes = {policy["metadata"]["namespace"] for policy in stage.policies}
        kept = {pod: labels for pod, labels in stage.pods.items() if pod in pods}
        homes |= set(namespaces_of(tuple(kept)))
        namespaces = {name: labels for name, labels in stage.namespaces.items() if name in homes}
        stages.append(replace(stage, namespaces=namespaces, pods=kept))
    return replace(case, stages=tuple(stages))


def _without_stage(case: Case) -> Iterator[Case]:
    for flag in FLAGS:
        if getattr(case, flag):
            bare: Any = {flag: False}
            yield replace(case, **bare)
    if len(case.stages) > 1:
        for i in range(len(case.stages)):
            yield replace(case, stages=_without(case.stages, i), hurried=False)


def _without_policy(case: Case) -> Iterator[Case]:
    for at, stage in enumerate(case.stages):
        for i in range(len(stage.policies)):
            candidate = _with_stage(case, at, replace(stage, policies=_without(stage.policies, i)))
            yield _with_pods(candidate, candidate.pods)  # without the namespaces that only the policy was for


def _without_pod(case: Case) -> Iterator[Case]:
    if len(case.pods) > 1:
        for pod in case.pods:
            yield _with_pods(case, [other for other in case.pods if other != pod])


def _without_piece(case: Case) -> Iterator[Case]:
    """Take one piece out of a policy's spec: a section, a rule, a peer, a port, a selector, one of its parts."""
    for at, stage in enumerate(case.stages):
        for i, policy in enumerate(stage.policies):
            for spec in _pieces(policy["spec"]):
                candidate = {**policy, "spec": {"podSelector": {}, **spec}}
                if candidate["spec"] != policy["spec"] and not invalid(_NOWHERE.resolve(candidate)):
                    yield _with_stage(
                        case,
                        at,
                        replace(stage, policies=(*stage.policies[:i], candidate, *stage.policies[i + 1 :])),
                    )


def _pieces(value: Any) -> Iterator[Any]:
    """Yield the value with one piece less, the big pieces first."""
    if isinstance(value, Mapping):
        for key in value:
            yield {name: child for name, child in value.items() if name != key}
        for key, child in value.items():
            for smaller in _pieces(child):
                yield {**value, key: smaller}
    elif isinstance(value, list):
        for i in range(len(value)):
            yield value[:i] + value[i + 1 :]
        for i, child in enumerate(value):
            for smaller in _pieces(child):
                yield [*value[:i], smaller, *value[i + 1 :]]


def _without_label(case: Case) -> Iterator[Case]:
    for at, stage in enumerate(case.stages):
        bare = Stage({name: {} for name in stage.namespaces}, {pod: {} for pod in stage.pods}, stage.policies)
        if bare != stage:
            yield _with_stage(case, at, bare)
        for side in ("namespaces", "pods"):
            owners: Mapping[str, Mapping[str, str]] = getattr(stage, side)
            for owner, labels in owners.items():
                for smaller in _pieces(labels):
                    changed: Any = {side: {**owners, owner: smaller}}
                    yield _with_stage(case, at, replace(stage, **changed))


def _with_stage(case: Case, at: int, stage: Stage) -> Case:
    return replace(case, stages=(*case.stages[:at], stage, *case.stages[at + 1 :]))


def _without(items: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return (*items[:at], *items[at + 1 :])
