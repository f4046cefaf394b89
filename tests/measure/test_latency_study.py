# SPDX-License-Identifier: Apache-2.0
"""The latency study: interleaving, warm-up, starvation, and what comes out of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from pytest_cniconformance.measure.latency import LatencyStudy
from pytest_cniconformance.measure.slo import parse_profile
from pytest_cniconformance.model.failure import Inconclusive
from pytest_cniconformance.model.slo import SloVerdict

PATHS = {"pod-to-pod/cross-node": "host-to-host/cross-node"}
PROFILE = parse_profile(
    '[[slo]]\npath="pod-*"\npercentile=50\nlimit_ms=1\nover_baseline=true\n'
    '[[slo]]\npath="pod-*"\npercentile=99\nlimit_ms=5\n',
    "test",
)

Sampler = Callable[[str, int], Sequence[float | None]]


def sampler(added: float = 50.0, seed: int = 1) -> Sampler:
    pick = random.Random(seed)

    def sample(path: str, count: int) -> list[float | None]:
        return [
            100 + (added if path.startswith("pod") else 0) + pick.expovariate(1 / 20) for _ in range(count)
        ]

    return sample


def test_blocks_alternate_so_that_drift_cancels() -> None:
    plan = LatencyStudy(paths=PATHS, rounds=2, block=10, warmup=1).plan()
    order = [step.path.split("-")[0] for step in plan]
    assert order == ["host", "pod", "pod", "host", "host", "pod"]
    assert [step.warmup for step in plan] == [True, True, False, False, False, False]


def test_two_paths_share_one_baseline_block_per_round() -> None:
    study = LatencyStudy(paths={"pod/a": "host", "svc/a": "host"}, rounds=3, warmup=0)
    assert sum(step.path == "host" for step in study.plan()) == 3


def test_what_the_cni_adds_is_found_and_judged() -> None:
    result = LatencyStudy(paths=PATHS, rounds=12, block=50).run(sampler(added=50))
    pod, host = result.measurements(PROFILE)
    assert (pod.name, pod.baseline, pod.count, pod.lost) == (*next(iter(PATHS.items())), 600, 0)
    added = next(q for q in pod.over_baseline if q.percentile == 50)
    assert added.low is not None
    assert added.high is not None
    assert added.low <= 50 <= added.high
    assert pod.verdict is SloVerdict.PASS
    assert host.slos == ()
    assert host.verdict is None
    assert sum(count for _, count in pod.histogram) == 600


def test_a_slow_cni_fails_and_too_few_samples_are_inconclusive() -> None:
    slow, _ = LatencyStudy(paths=PATHS, rounds=12).run(sampler(added=9000)).measurements(PROFILE)
    assert [slo.verdict for slo in slow.slos] == [SloVerdict.FAIL, SloVerdict.FAIL]
    few, _ = LatencyStudy(paths=PATHS, rounds=10, block=5).run(sampler()).measurements(PROFILE)
    assert [slo.verdict for slo in few.slos] == [SloVerdict.PASS, SloVerdict.INCONCLUSIVE]


def test_warm_up_blocks_do_not_count() -> None:
    calls = iter(range(1000))

    def sample(path: str, count: int) -> list[float | None]:
        return [1e6 if next(calls) < 2 else 100.0] * count

    result = LatencyStudy(paths=PATHS, rounds=8, block=2, warmup=1).run(sample)
    assert {value for block in result.samples["pod-to-pod/cross-node"] for value in block} == {100.0}


def _with_slow_rounds(side: str, rounds: set[int]) -> Sampler:
    taken: dict[str, int] = {}

    def sample(path: str, count: int) -> list[float | None]:
        number = taken[path] = taken.get(path, -1) + 1
        return [20_000.0 if number in rounds and path.startswith(side) else 100.0] * count

    return sample


def test_a_disturbed_baseline_drops_the_round_on_both_sides() -> None:
    study = LatencyStudy(paths=PATHS, rounds=20, block=20, warmup=0)
    result = study.run(_with_slow_rounds("host", {3, 4}))
    assert result.dropped_rounds == 2
    assert {path: len(blocks) for path, blocks in result.samples.items()} == dict.fromkeys(
        ("host-to-host/cross-node", "pod-to-pod/cross-node"), 18
    )
    assert "2 of 20 rounds dropped" in result.measurements()[0].notes[0]


def test_a_slow_path_is_never_explained_away() -> None:
    study = LatencyStudy(paths=PATHS, rounds=20, block=20, warmup=0)
    result = study.run(_with_slow_rounds("pod", {3, 4, 5}))
    assert result.dropped_rounds == 0
    assert result.measurements()[0].maximum == 20_000.0


def test_a_machine_that_cannot_measure_is_inconclusive() -> None:
    study = LatencyStudy(paths=PATHS, rounds=20, block=20, warmup=0)
    with pytest.raises(Inconclusive, match="disturbed in 8 of 20 rounds"):
        study.run(_with_slow_rounds("host", set(range(8))))


def test_a_prober_that_lags_loses_the_round() -> None:
    lags = iter([value for number in range(100) for value in (0.0, 9000.0 if number in (0, 5) else 10.0)])
    study = LatencyStudy(paths=PATHS, rounds=20, block=10, warmup=0)
    assert study.run(sampler(), lag_us=lambda: next(lags)).dropped_rounds == 2


def test_a_prober_that_stops_is_inconclusive() -> None:
    with pytest.raises(Inconclusive, match="returned 1 of 50 round trips"):
        LatencyStudy(paths=PATHS).run(lambda path, count: [1.0])


def test_losses_are_counted_and_reach_the_verdict() -> None:
    def sample(path: str, count: int) -> list[float | None]:
        return [100.0] * (count - 2) + [None if path.startswith("pod") else 100.0] * 2

    pod, _ = LatencyStudy(paths=PATHS, rounds=20, block=50).run(sample).measurements(PROFILE)
    assert pod.lost == 40
    p99 = next(q for q in pod.quantiles if q.percentile == 99)
    assert (p99.value, p99.low, p99.high) == (None, None, None)
    assert pod.slos[1].verdict is SloVerdict.FAIL
