# SPDX-License-Identifier: Apache-2.0
"""From a case that disagrees to the smallest one that still does, in as few questions as possible.

Hypothesis could do this, but it minimises the bits behind a case in hundreds of questions, and each of them costs
a cluster a second. Here a question takes away what a reader would: all but two pods, all but one policy, then
sections, rules, peers, ports, selectors and labels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_cniconformance.policy.randomcases.anchors import Addresses
from pytest_cniconformance.policy.randomcases.case import EXTRAS, Case, Stage
from pytest_cniconformance.policy.randomcases.pool import namespaces_of
from pytest_cniconformance.policy.validate import invalid

Obj = dict[str, Any]
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
            # Without any policy it is something else that disagrees: what other workers' policies do, say.
            answers[candidate.key] = candidate.policies > 0 and disagrees(candidate)
        return answers[candidate.key]

    case = next((leap for leap in _leaps(case, pods) if ask(leap)), case)
    before = None
    while case != before:
        before = case
        for cuts in (
            _without_extra,
            _without_stage,
            _without_policy,
            _without_pod,
            _without_piece,
            _without_label,
        ):
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
        several = len(chosen) > 1
        focused = replace(
            case,
            stages=chosen,
            outside=case.outside and len(pods) < 2,
            hurried=case.hurried and several,
            watched=case.watched and several,
        )
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
    gone = case.replaced not in pods
    return replace(
        case,
        stages=tuple(stages),
        replaced="" if gone else case.replaced,
        inherited=None if gone else case.inherited,
    )


def _without_extra(case: Case) -> Iterator[Case]:
    for extra, least in EXTRAS.items():
        if getattr(case, extra) != least:
            bare: Any = {extra: least} | ({"inherited": None} if extra == "replaced" else {})
            yield replace(case, **bare)


def _without_stage(case: Case) -> Iterator[Case]:
    if len(case.stages) > 1:
        for i in range(len(case.stages)):
            yield replace(case, stages=_without(case.stages, i), hurried=False, watched=False)


def _without_policy(case: Case) -> Iterator[Case]:
    for name in dict.fromkeys(_name(policy) for stage in case.stages for policy in stage.policies):
        yield _of(case, functools.partial(_unless_named, name))
    for at, stage in enumerate(case.stages if len(case.stages) > 1 else ()):
        for i in range(len(stage.policies)):
            candidate = _with_stage(case, at, replace(stage, policies=_without(stage.policies, i)))
            yield _with_pods(candidate, candidate.pods)


def _without_pod(case: Case) -> Iterator[Case]:
    if len(case.pods) > 1:
        for pod in case.pods:
            yield _with_pods(case, [other for other in case.pods if other != pod])


def _without_piece(case: Case) -> Iterator[Case]:
    """Take one piece out of a policy's spec: a section, a rule, a peer, a port, a selector, one of its parts."""
    if case.refused:
        yield from (replace(case, refused=less) for less in _less(case.refused, valid=False))
    # A policy that stages have in common stays common to them: what is seen of an update depends on it.
    for before in _distinct(policy for stage in case.stages for policy in stage.policies):
        for less in _less(before):
            yield _of(case, functools.partial(_in_place, before, less))


def _unless_named(name: tuple[str, str], policy: Obj) -> Obj | None:
    return None if _name(policy) == name else policy


def _in_place(before: Obj, less: Obj, policy: Obj) -> Obj:
    return less if policy == before else policy


def _less(policy: Obj, *, valid: bool = True) -> Iterator[Obj]:
    """Yield the policy with one piece less, where the API server still takes it, or still refuses it."""
    for spec in _pieces(policy["spec"]):
        candidate = {**policy, "spec": {"podSelector": {}, **spec}}
        if candidate["spec"] != policy["spec"] and bool(invalid(_NOWHERE.resolve(candidate))) != valid:
            yield candidate


def _of(case: Case, change: Callable[[Obj], Obj | None]) -> Case:
    """Return the case with other policies in all stages, None for none, and without namespaces that nobody needs."""
    stages = tuple(
        replace(stage, policies=tuple(new for policy in stage.policies if (new := change(policy))))
        for stage in case.stages
    )
    return _with_pods(replace(case, stages=stages), case.pods)


def _name(policy: Obj) -> tuple[str, str]:
    return policy["metadata"]["namespace"], policy["metadata"]["name"]


def _distinct(policies: Iterable[Obj]) -> list[Obj]:
    found: list[Obj] = []
    for policy in policies:
        if policy not in found:
            found.append(policy)
    return found


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
    """Take away labels: all of them, then one after the other, in all stages and then in one."""
    every = tuple(range(len(case.stages)))
    for places in (every, *((at,) for at in every if len(every) > 1)):
        stages = [case.stages[at] for at in places]
        yield from _relabelled(case, places, [_bare(stage) for stage in stages])
        for side in ("namespaces", "pods"):
            for owner, labels in getattr(stages[0], side).items():
                for smaller in _pieces(labels):
                    changed = [
                        _labelled(stage, side, owner, smaller)
                        for stage in stages
                        if getattr(stage, side).get(owner) == labels
                    ]
                    if len(changed) == len(stages):
                        yield from _relabelled(case, places, changed)


def _bare(stage: Stage) -> Stage:
    return Stage({name: {} for name in stage.namespaces}, {pod: {} for pod in stage.pods}, stage.policies)


def _labelled(stage: Stage, side: str, owner: str, labels: Mapping[str, str]) -> Stage:
    changed: Any = {side: {**getattr(stage, side), owner: labels}}
    return replace(stage, **changed)


def _relabelled(case: Case, places: Sequence[int], stages: Sequence[Stage]) -> Iterator[Case]:
    candidate = case
    for at, stage in zip(places, stages, strict=True):
        candidate = _with_stage(candidate, at, stage)
    if candidate != case:
        yield candidate


def _with_stage(case: Case, at: int, stage: Stage) -> Case:
    return replace(case, stages=(*case.stages[:at], stage, *case.stages[at + 1 :]))


def _without(items: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return (*items[:at], *items[at + 1 :])
