# SPDX-License-Identifier: Apache-2.0
"""From attempts on watched paths to the times of a change: pure functions, seconds in, milliseconds out.

An attempt counts for the moment at which it was sent. A path has followed a change with the first attempt of the
final run of like outcomes, so that the time to deny is the send time of the first unanswered attempt after which
none was answered any more. Three unanswered attempts in a row are a denial, fewer may be a lost packet; one answer
is an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_cniconformance.measure import slo, stats
from pytest_cniconformance.model.convergence import (
    ANY_EVENT,
    NEW_POD,
    Change,
    Convergence,
    ConvergenceSample,
    Spread,
)
from pytest_cniconformance.model.measurement import Quantile, SloResult
from pytest_cniconformance.model.slo import Slo

LOST_AT_MOST = 2
"""So many unanswered attempts between answered ones are taken for lost packets."""

PERCENTILES = (50.0, 90.0)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive attempts on one path with the same outcome, by their times of sending (seconds)."""

    open: bool
    first: float
    last: float
    count: int


@dataclass(frozen=True, slots=True)
class PathTimes:
    """When one path followed a change, in seconds since it; see :class:`ConvergenceSample`.

    ``gap`` is the distance of the attempts between which it changed: the resolution of the measurement.
    """

    first: float
    last: float
    wrong: float
    flap: float
    gap: float


def runs_since(runs: Iterable[Run], since: float) -> list[Run]:
    """Return the runs from ``since`` on, lost packets passed over and equal neighbours joined."""
    found: list[Run] = []
    for run in runs:
        if run.last < since:
            continue
        clipped = Run(run.open, max(run.first, since), run.last, run.count)
        if found and found[-1].open == clipped.open:
            found[-1] = Run(clipped.open, found[-1].first, clipped.last, found[-1].count + clipped.count)
        else:
            found.append(clipped)
    return _joined(found)


def _joined(runs: Sequence[Run]) -> list[Run]:
    kept: list[Run] = []
    for index, run in enumerate(runs):
        lost = not run.open and run.count <= LOST_AT_MOST and index < len(runs) - 1
        if lost:
            continue
        if kept and kept[-1].open == run.open:
            kept[-1] = Run(run.open, kept[-1].first, run.last, kept[-1].count + run.count)
        else:
            kept.append(run)
    return kept


def settled(runs: Sequence[Run], since: float, wanted_open: bool, quiet: float) -> bool:
    """Whether the path is in the wanted state and has been for ``quiet`` seconds."""
    found = runs_since(runs, since)
    if not found or found[-1].open != wanted_open or found[-1].count <= LOST_AT_MOST:
        return False
    return found[-1].last - found[-1].first >= quiet


def path_times(runs: Sequence[Run], since: float, wanted_open: bool) -> PathTimes:
    """Return when a settled path followed the change at ``since``."""
    found = runs_since(runs, since)
    right = [run for run in found if run.open == wanted_open]
    wrong = [run for run in found if run.open != wanted_open]
    before = [run.last for run in runs if run.last < right[-1].first]
    reverted = [run for run in wrong if run.first > right[0].first]
    return PathTimes(
        first=right[0].first - since,
        last=right[-1].first - since,
        wrong=max(0.0, wrong[-1].last - since) if wrong else 0.0,
        flap=sum(run.last - run.first for run in reverted),
        gap=right[-1].first - max(before) if before else 0.0,
    )


def reversed_again(runs: Sequence[Run], since: float, wanted_open: bool) -> bool:
    """Whether the path went back to the old state after it had met the new one."""
    found = runs_since(runs, since)
    states = [run.open for run in found]
    return wanted_open in states and (not wanted_open) in states[states.index(wanted_open) :]


def sample(paths: Iterable[PathTimes], clock_error: float) -> ConvergenceSample:
    """Return the sample of one event from its paths: the first one's first, the slowest one's last."""
    times = list(paths)
    return ConvergenceSample(
        first=_ms(min(t.first for t in times)),
        last=_ms(max(t.last for t in times)),
        wrong=_ms(max(t.wrong for t in times)),
        flap=_ms(max(t.flap for t in times)),
        error=_ms(clock_error + max(t.gap for t in times)),
    )


def steady(runs: Sequence[Run], since: float, until: float, allowed: bool) -> float:
    """Return for how long (seconds) a path was in the wrong state that no event should have touched.

    A single answer on a forbidden path is a leak of the length of nothing: it is counted as one microsecond.
    """
    found = [run for run in runs_since(runs, since) if run.open != allowed and run.first <= until]
    if allowed:
        found = [run for run in found if run.count > LOST_AT_MOST]
    return sum(max(run.last - run.first, 1e-6) for run in found)


def row(
    event: str,
    traffic: str,
    change: Change,
    samples: Sequence[ConvergenceSample],
    *,
    dropped: int = 0,
    profile: slo.SloProfile | None = None,
) -> Convergence:
    """Return the row of these samples, judged by the objectives that the profile has for it."""
    made = Convergence(
        event=event,
        traffic=traffic,
        change=change,
        samples=tuple(samples),
        first=spread([s.first for s in samples if s.first is not None]),
        last=spread([s.last for s in samples if s.last is not None]),
        wrong=spread([s.wrong for s in samples]),
        flaps=sum(s.flap > 0 for s in samples),
        dropped=dropped,
        error_ms=max((s.error for s in samples), default=0.0),
    )
    values = sorted(s.last * 1000 for s in samples if s.last is not None)
    if profile is None or not values:
        return made
    # Both directions have the same objective; whoever reads the verdict wants to know which one missed it.
    name = f"{made.path}, {traffic}"
    results = tuple(_judge(objective, values, name) for objective in profile.for_path(made.path))
    return Convergence(**{**{name: getattr(made, name) for name in made.__slots__}, "slos": results})


def _judge(objective: Slo, microseconds: list[float], name: str) -> SloResult:
    named = Slo(name, objective.percentile, objective.limit_ms)
    return slo.judge(named, stats.percentile_interval(microseconds, objective.percentile), len(microseconds))


def spread(milliseconds: Iterable[float]) -> Spread:
    """Return the distribution: only quantiles that so many samples support, with their intervals."""
    ordered = sorted(milliseconds)
    quantiles = []
    for p in PERCENTILES:
        if not ordered or stats.rank(len(ordered), p) == len(ordered):
            continue  # the nearest rank would be the maximum
        found = stats.percentile_interval(ordered, p)
        low, high = (None if abs(v) == stats.INF else v for v in (found.low, found.high))
        quantiles.append(Quantile(percentile=p, value=found.value, low=low, high=high))
    return Spread(count=len(ordered), quantiles=tuple(quantiles), maximum=ordered[-1] if ordered else None)


def pooled(rows: Iterable[Convergence]) -> tuple[Convergence, ...]:
    """Return one row per change over all events, and one per event, direction of traffic and change.

    New pods stay out of the former: their times begin with their first packet, not with a request.
    Samples are merged and the quantiles taken again; quantiles are never averaged.
    """
    groups: dict[tuple[str, str, Change], list[Convergence]] = {}
    for each in rows:
        groups.setdefault((each.event, each.traffic, each.change), []).append(each)
    merged = [_merged(*key, parts) for key, parts in groups.items()]
    every = []
    for change in Change:
        parts = [each for each in merged if each.change is change and each.event != NEW_POD]
        if len(parts) > 1:
            every.append(_merged(ANY_EVENT, "both", change, parts))
    return (*every, *merged)


def _merged(event: str, traffic: str, change: Change, parts: Sequence[Convergence]) -> Convergence:
    if len(parts) == 1 and parts[0].event == event:
        return parts[0]
    samples = [s for part in parts for s in part.samples]
    return row(event, traffic, change, samples, dropped=sum(part.dropped for part in parts))


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
