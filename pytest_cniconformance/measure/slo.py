# SPDX-License-Identifier: Apache-2.0
"""SLO profiles (TOML) and the three-valued verdict on a percentile's confidence interval."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.measure.stats import Interval, samples_needed
from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.measurement import SloResult
from pytest_cniconformance.model.slo import Slo, SloVerdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = {"path", "percentile", "limit_ms", "over_baseline"}


@dataclass(frozen=True, slots=True)
class SloProfile:
    """Named objectives; the ``path`` of one may be a pattern (``pod-to-*``)."""

    name: str
    description: str
    slos: tuple[Slo, ...]

    def for_path(self, path: str) -> tuple[Slo, ...]:
        """Return the objectives that apply to a path, in the order of the file."""
        return tuple(slo for slo in self.slos if fnmatchcase(path, slo.path))


def bundled_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that the package ships."""
    folder = resources.files("pytest_cniconformance.measure") / "profiles"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_profile(name: str) -> SloProfile:
    """Return the bundled profile ``name``, or the one in the TOML file ``name``.

    Raises UsageError with one line that says what is wrong in which file.
    """
    if name in bundled_profiles():
        folder = resources.files("pytest_cniconformance.measure") / "profiles"
        return parse_profile((folder / f"{name}.toml").read_text("utf-8"), name)
    if "/" not in name and not name.endswith(".toml"):
        known = ", ".join(bundled_profiles())
        raise UsageError(f"unknown SLO profile {name!r}: use one of {known}, or the path of a TOML file")
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no UTF-8 text"
        raise UsageError(f"cannot read the SLO profile {name}: {reason}") from None
    return parse_profile(text, name)


def parse_profile(text: str, origin: str) -> SloProfile:
    """Build a profile from TOML; ``origin`` names it in errors (UsageError)."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"SLO profile {origin}: no valid TOML: {error}") from None
    unknown = sorted(data.keys() - {"description", "slo"})
    if unknown:
        raise UsageError(
            f"SLO profile {origin}: unknown key {unknown[0]!r}; it holds description and [[slo]]"
        )
    entries = data.get("slo", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise UsageError(f"SLO profile {origin}: it needs at least one [[slo]] table")
    description = data.get("description", "")
    if not isinstance(description, str):
        raise UsageError(f"SLO profile {origin}: description must be a string")
    slos = tuple(_slo(entry, f"SLO profile {origin}, [[slo]] {n}") for n, entry in enumerate(entries, 1))
    return SloProfile(Path(origin).stem, description, slos)


def _slo(entry: Mapping[str, Any], where: str) -> Slo:
    for key in sorted(entry.keys() - _KEYS):
        raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(_KEYS))}")
    for key in ("path", "percentile", "limit_ms"):
        if key not in entry:
            raise UsageError(f"{where}: {key} is missing")
    path, over_baseline = entry["path"], entry.get("over_baseline", False)
    if not isinstance(path, str) or not path:
        raise UsageError(f"{where}: path must be the name or pattern of a path, not {path!r}")
    if not isinstance(over_baseline, bool):
        raise UsageError(f"{where}: over_baseline must be true or false, not {over_baseline!r}")
    percentile = _number(entry["percentile"], "percentile", where)
    if not 0 < percentile < 100:
        raise UsageError(f"{where}: percentile must lie between 0 and 100, not at {percentile:g}")
    limit = _number(entry["limit_ms"], "limit_ms", where)
    if limit <= 0:
        raise UsageError(f"{where}: limit_ms must be above 0 milliseconds, not {limit:g}")
    return Slo(path, percentile, limit, over_baseline)


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{where}: {key} must be a number, not {value!r}")
    return float(value)


def verdict(interval: Interval, limit: float) -> SloVerdict:
    """Pass when the whole interval keeps the limit, fail when it lies wholly above, else inconclusive.

    ``limit`` and interval share one unit. Each wrong verdict has at most half of ``1 - confidence``.
    """
    if interval.high <= limit:
        return SloVerdict.PASS
    if interval.low > limit:
        return SloVerdict.FAIL
    return SloVerdict.INCONCLUSIVE


def judge(slo: Slo, interval_us: Interval, count: int, confidence: float = 0.95) -> SloResult:
    """Return the result of one objective on an interval in microseconds that ``count`` samples gave."""
    found = verdict(interval_us, slo.limit_ms * 1000)
    note = ""
    if found is SloVerdict.INCONCLUSIVE:
        needed = samples_needed(slo.percentile, confidence)
        if count < needed:
            note = f"p{slo.percentile:g} needs at least {needed} samples to be bounded, {count} were taken"
        elif not interval_us.bounded:
            note = "too few interleaved blocks to bound the difference to the baseline"
        else:
            note = "the confidence interval crosses the limit: more or calmer samples are needed"
    return SloResult(
        objective=str(slo),
        percentile=slo.percentile,
        limit_ms=slo.limit_ms,
        over_baseline=slo.over_baseline,
        verdict=found,
        value_ms=_milliseconds(interval_us.value),
        low_ms=_milliseconds(interval_us.low),
        high_ms=_milliseconds(interval_us.high),
        note=note,
    )


def _milliseconds(microseconds: float) -> float | None:
    return round(microseconds / 1000, 6) if math.isfinite(microseconds) else None
