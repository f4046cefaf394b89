# SPDX-License-Identifier: Apache-2.0
"""A latency study: short blocks of every path, interleaved with blocks of its host-network baseline.

The study decides what is sampled when, and what the samples mean; who sends the packets is the caller's
``sample(path, n)``. Order alternates from round to round (A B B A), so that linear drift cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_cniconformance.measure import paired, slo, stats
from pytest_cniconformance.model.failure import Inconclusive
from pytest_cniconformance.model.measurement import Measurement, Quantile

Sample = Callable[[str, int], Sequence[float | None]]
"""Take n round trips of a path, one after the other: microseconds each, None for one that got no answer."""

Samples = Mapping[str, Sequence[Sequence[float | None]]]
"""Per path its blocks, one per round that counts; the rounds of all paths are the same ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block to sample. Blocks of a warm-up round are taken and thrown away."""

    round: int
    path: str
    count: int
    warmup: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStudy:
    """What to sample: each path beside its baseline (``{path: baseline path}``).

    ``rounds`` blocks of ``block`` samples are kept per path, after ``warmup`` rounds. ``starved_factor``: a
    round whose *baseline* median exceeds the median of all rounds by this factor and by ``starved_floor_us``
    was disturbed from outside (a starved prober, a frozen machine) and is dropped with every path in it. Only
    the baseline may condemn a round: a slow block of the CNI is what the study looks for. Beyond
    ``starved_share`` of such rounds the machine cannot measure at all and the study is inconclusive.
    """

    paths: Mapping[str, str]
    rounds: int = 20
    block: int = 50
    warmup: int = 1
    confidence: float = 0.95
    seed: int = 1
    starved_factor: float = 5.0
    starved_floor_us: float = 500.0
    starved_share: float = 0.25
    percentiles: tuple[float, ...] = field(default=stats.PERCENTILES)

    def plan(self) -> tuple[Step, ...]:
        """Return every block in the order in which it is to be taken."""
        forward = list(dict.fromkeys([*self.paths.values(), *self.paths]))
        steps = []
        for number in range(self.warmup + self.rounds):
            order = forward if number % 2 == 0 else forward[::-1]
            steps += [Step(number, path, self.block, number < self.warmup) for path in order]
        return tuple(steps)

    def run(self, sample: Sample, *, lag_us: Callable[[], float | None] | None = None) -> StudyResult:
        """Take all samples and return them without the rounds that were disturbed.

        ``lag_us`` returns the worst scheduling delay of the prober since the last call (None: unknown); a
        round in which it exceeds ``starved_floor_us`` times ``starved_factor`` is dropped like one whose
        baseline was slow. Raises Inconclusive when too many rounds were disturbed or a block came back short.
        """
        rounds: dict[int, dict[str, list[float | None]]] = {}
        lagged: set[int] = set()
        for step in self.plan():
            if lag_us is not None:
                lag_us()
            block = list(sample(step.path, step.count))
            if len(block) != step.count:
                raise Inconclusive(
                    f"the prober returned {len(block)} of {step.count} round trips of {step.path}: "
                    "it stopped, so the distribution is unknown"
                )
            lag = lag_us() if lag_us is not None else None
            if lag is not None and lag > self.starved_floor_us * self.starved_factor:
                lagged.add(step.round)
            if not step.warmup:
                rounds.setdefault(step.round, {})[step.path] = block
        starved = (lagged | self._slow(rounds)) & rounds.keys()
        if len(starved) > self.starved_share * len(rounds):
            raise Inconclusive(
                f"the host network itself was disturbed in {len(starved)} of {len(rounds)} rounds "
                "(starved prober or overloaded node): latency cannot be judged; run on a calmer cluster"
            )
        kept = [taken for number, taken in rounds.items() if number not in starved]
        samples = {path: [taken[path] for taken in kept] for path in kept[0]} if kept else {}
        return StudyResult(self, samples, len(starved), len(rounds))

    def _slow(self, rounds: Mapping[int, Mapping[str, Sequence[float | None]]]) -> set[int]:
        slow: set[int] = set()
        for path in dict.fromkeys(self.paths.values()):
            medians = {
                number: stats.percentile(stats.merge(taken[path]), 50) for number, taken in rounds.items()
            }
            usual = stats.median(medians)
            limit = max(usual * self.starved_factor, usual + self.starved_floor_us)
            slow |= {number for number, value in medians.items() if value > limit}
        return slow


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The samples of a study and how many of its rounds were dropped."""

    study: LatencyStudy
    samples: Samples
    dropped_rounds: int = 0
    total_rounds: int = 0

    def measurements(self, profile: slo.SloProfile | None = None) -> tuple[Measurement, ...]:
        """Return one measurement per path and baseline, judged by the objectives of ``profile``."""
        paths = dict.fromkeys([*self.study.paths, *self.study.paths.values()])
        return tuple(self._measure(path, profile) for path in paths)

    def _measure(self, path: str, profile: slo.SloProfile | None) -> Measurement:
        study = self.study
        ordered = stats.merge(*self.samples[path])
        finite = [value for value in ordered if math.isfinite(value)]
        baseline = study.paths.get(path, "")
        pairs = list(zip(self.samples[path], self.samples[baseline], strict=True)) if baseline else []
        # A pattern of the profile becomes the path that it matched, so that the result names what it judged.
        slos = [replace(objective, path=path) for objective in profile.for_path(path)] if profile else []
        asked = dict.fromkeys([*study.percentiles, *(objective.percentile for objective in slos)])
        quantiles = {p: stats.percentile_interval(ordered, p, study.confidence) for p in sorted(asked)}
        differences = {
            p: paired.difference_interval(pairs, p, study.confidence, seed=study.seed)
            for p in sorted(asked)
            if pairs
        }
        results = [
            slo.judge(
                objective,
                (differences if objective.over_baseline else quantiles)[objective.percentile],
                len(ordered),
                study.confidence,
            )
            for objective in slos
            if pairs or not objective.over_baseline
        ]
        notes = []
        if self.dropped_rounds:
            notes.append(
                f"{self.dropped_rounds} of {self.total_rounds} rounds dropped: the baseline was disturbed"
            )
        return Measurement(
            name=path,
            unit="us",
            count=len(ordered),
            lost=len(ordered) - len(finite),
            minimum=_finite(finite[0]) if finite else None,
            maximum=_finite(finite[-1]) if finite else None,
            confidence=study.confidence,
            quantiles=tuple(_quantile(p, interval) for p, interval in quantiles.items()),
            histogram=tuple(stats.histogram(finite)),
            baseline=baseline,
            over_baseline=tuple(_quantile(p, interval) for p, interval in differences.items()),
            slos=tuple(results),
            notes=tuple(notes),
        )


def distribution(
    path: str, samples: Sequence[float | None], profile: slo.SloProfile | None = None
) -> Measurement:
    """Return the measurement of one path that has no baseline: microseconds each, None for a lost sample."""
    return StudyResult(LatencyStudy(paths={}), {path: [samples]})._measure(path, profile)


def _quantile(p: float, interval: stats.Interval) -> Quantile:
    return Quantile(
        percentile=p, value=_finite(interval.value), low=_finite(interval.low), high=_finite(interval.high)
    )


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
