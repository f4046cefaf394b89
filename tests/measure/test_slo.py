# SPDX-License-Identifier: Apache-2.0
"""SLO profiles and the three-valued verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.measure.slo import (
    bundled_profiles,
    judge,
    load_profile,
    parse_profile,
    verdict,
)
from pytest_cniconformance.measure.stats import Interval
from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.slo import Slo, SloVerdict

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '[[slo]]\npath = "pod-to-pod/*"\npercentile = 99\nlimit_ms = 5\n'


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 5, SloVerdict.PASS),
        (5, 6, SloVerdict.INCONCLUSIVE),
        (5.1, 6, SloVerdict.FAIL),
        (1, math.inf, SloVerdict.INCONCLUSIVE),
        (-math.inf, math.inf, SloVerdict.INCONCLUSIVE),
        (math.inf, math.inf, SloVerdict.FAIL),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, expected: SloVerdict) -> None:
    assert verdict(Interval(low, low, high, 0.95), 5) is expected


def test_an_inconclusive_verdict_says_what_it_lacks() -> None:
    slo = Slo("x", 99, 5)
    few = judge(slo, Interval(1000, 900, math.inf, 0.9), 50)
    assert few.verdict is SloVerdict.INCONCLUSIVE
    assert "at least 368 samples" in few.note
    assert (few.value_ms, few.low_ms, few.high_ms) == (1.0, 0.9, None)
    assert "crosses the limit" in judge(slo, Interval(5000, 4000, 6000, 0.95), 5000).note


@pytest.mark.parametrize("name", bundled_profiles())
def test_bundled_profiles_load_and_speak_of_known_paths(name: str) -> None:
    profile = load_profile(name)
    assert profile.description
    paths = [f"pod-to-{to}/{where}" for to in ("pod", "service") for where in ("same-node", "cross-node")]
    paths += ["dns/lookup", "dns/propagation"]
    paths += [f"policy-convergence/update/{change}" for change in ("deny", "allow")]
    for slo in profile.slos:
        assert any(slo in profile.for_path(path) for path in paths), slo
    assert not profile.for_path("host-to-host/cross-node")


def test_the_profiles_that_people_can_name() -> None:
    assert bundled_profiles() == ("default", "mlops-seed")


def test_a_profile_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    profile = load_profile(str(path))
    assert profile.name == "mine"
    assert profile.slos == (Slo("pod-to-pod/*", 99.0, 5.0),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slo = [", "no valid TOML"),
        ("", "at least one"),
        ("slo = 3", "at least one"),
        ("slo = [3]", "at least one"),
        ("description = 3\n" + GOOD, "description must be a string"),
        ("[[slos]]\n", "unknown key 'slos'"),
        (GOOD + "limit = 3", "unknown key 'limit'"),
        ('[[slo]]\npath = "a"\nlimit_ms = 3', "percentile is missing"),
        (GOOD.replace("99", "100"), "between 0 and 100"),
        (GOOD.replace("99", '"p99"'), "percentile must be a number"),
        (GOOD.replace("99", "true"), "percentile must be a number"),
        (GOOD.replace("5\n", "0\n"), "above 0 milliseconds"),
        (GOOD.replace("5\n", "inf\n"), "limit_ms must be a number"),
        (GOOD.replace('"pod-to-pod/*"', "7"), "path must be"),
        (GOOD + 'over_baseline = "yes"', "true or false"),
    ],
)
def test_a_bad_profile_gives_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_profile(text, "bad.toml")
    assert message in str(error.value)
    assert str(error.value).startswith("SLO profile bad.toml")
    assert "\n" not in str(error.value)


def test_an_unknown_or_unreadable_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown SLO profile 'fast': use one of default, mlops-seed"):
        load_profile("fast")
    with pytest.raises(UsageError, match=r"cannot read .*nowhere.toml: No such file"):
        load_profile(str(tmp_path / "nowhere.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no UTF-8"):
        load_profile(str(tmp_path / "binary.toml"))
