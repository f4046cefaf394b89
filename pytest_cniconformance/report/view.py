# SPDX-License-Identifier: Apache-2.0
"""What every view shares: the words and marks of outcomes, and a record that is safe to show."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_cniconformance.model.measurement import Quantile
from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.model.slo import SloVerdict
from pytest_cniconformance.report import codec
from pytest_cniconformance.report.redact import PATTERNS_ONLY
from pytest_cniconformance.report.summary import HeadlineVerdict, Status
from pytest_cniconformance.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.model.convergence import Convergence, Spread
    from pytest_cniconformance.model.measurement import Measurement, SloResult
    from pytest_cniconformance.report.check import CheckRecord
    from pytest_cniconformance.report.record import RunRecord


class Tone(StrEnum):
    """How a reader should take it; never the only carrier of a meaning."""

    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"
    NEUTRAL = "neutral"


class Look(NamedTuple):
    """The words, the mark and the tone of an outcome, a status or a verdict."""

    word: str
    mark: str
    tone: Tone


OUTCOMES: dict[Outcome, Look] = {
    Outcome.FAILED: Look("failed", "✗", Tone.BAD),
    Outcome.NOT_ENFORCED: Look("not enforced", "!", Tone.BAD),
    Outcome.ERROR: Look("error", "E", Tone.UNSURE),
    Outcome.INCONCLUSIVE: Look("inconclusive", "?", Tone.UNSURE),
    Outcome.FLAKY: Look("flaky", "~", Tone.UNSURE),
    Outcome.KNOWN_DEVIATION: Look("known deviation", "≠", Tone.NEUTRAL),
    Outcome.PASSED: Look("passed", "✓", Tone.GOOD),
    Outcome.NOT_SUPPORTED: Look("not supported", "–", Tone.NEUTRAL),
    Outcome.SKIPPED: Look("skipped", "·", Tone.NEUTRAL),
}
"""Every outcome, the ones that need a reader first."""

STATUSES: dict[Status, Look] = {
    Status.SUPPORTED: Look("supported", "✓", Tone.GOOD),
    Status.PARTIAL: Look("partial", "≠", Tone.UNSURE),
    Status.NOT_ENFORCED: Look("not enforced", "!", Tone.BAD),
    Status.NOT_SUPPORTED: Look("not supported", "–", Tone.NEUTRAL),
    Status.INCONCLUSIVE: Look("inconclusive", "?", Tone.UNSURE),
    Status.FAILED: Look("failed", "✗", Tone.BAD),
    Status.NO_RESULT: Look("no result", "·", Tone.NEUTRAL),
}

VERDICTS: dict[HeadlineVerdict, Look] = {
    HeadlineVerdict.CONFORMANT: Look("conformant", "✓", Tone.GOOD),
    HeadlineVerdict.CONFORMANT_IN_PART: Look("conformant in part", "✓", Tone.GOOD),
    HeadlineVerdict.INCOMPLETE: Look("incomplete", "?", Tone.UNSURE),
    HeadlineVerdict.NOT_ENFORCED: Look("not enforced", "!", Tone.BAD),
    HeadlineVerdict.NOT_CONFORMANT: Look("not conformant", "✗", Tone.BAD),
}

SLOS: dict[SloVerdict, Look] = {
    SloVerdict.PASS: Look("pass", "✓", Tone.GOOD),
    SloVerdict.FAIL: Look("fail", "✗", Tone.BAD),
    SloVerdict.INCONCLUSIVE: Look("inconclusive", "?", Tone.UNSURE),
}

ATTENTION = (
    Outcome.FAILED,
    Outcome.NOT_ENFORCED,
    Outcome.ERROR,
    Outcome.INCONCLUSIVE,
    Outcome.FLAKY,
)
"""The outcomes that a reader must see without asking, in this order."""

EMULATED = "lab, emulated dataplane: not evidence about a real CNI"


def presentable(record: RunRecord) -> RunRecord:
    """Return the record with secrets removed and control characters made visible."""
    return codec.load(type(record), _shown(PATTERNS_ONLY.tree(codec.dump(record))))


def attention(record: RunRecord) -> list[CheckRecord]:
    """Return the checks that a reader must see, the worst first."""
    return [check for outcome in ATTENTION for check in record.checks if check.outcome is outcome]


def tally(counts: dict[str, int]) -> list[tuple[Outcome, int]]:
    """Return how often each outcome occurred, passed first, then the worst."""
    order = sorted(OUTCOMES, key=lambda outcome: outcome is not Outcome.PASSED)
    return [(outcome, counts[outcome]) for outcome in order if counts.get(outcome)]


def tally_text(counts: dict[str, int]) -> str:
    """Return the counts in words: ``48 passed, 3 not supported``."""
    return ", ".join(f"{count} {OUTCOMES[outcome].word}" for outcome, count in tally(counts))


def duration(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def microseconds(value: float | None) -> str:
    """Return microseconds as µs, ms or s with three significant digits; None is infinity."""
    if value is None:
        return "∞"
    for limit, factor, unit in ((1e3, 1, "µs"), (1e6, 1e3, "ms")):
        if abs(value) < limit * 0.9995:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e6:.3g} s"


def quantile(values: Iterable[Quantile], p: float) -> Quantile | None:
    """Return the quantile at that percentile, if it was taken."""
    return next((value for value in values if value.percentile == p), None)


def interval(found: Quantile) -> str:
    """Return the confidence interval in words and numbers."""
    if found.low is None and found.high is None:
        return "not bounded" if found.value is not None else "lost"
    low = "−∞" if found.low is None else microseconds(found.low)
    return f"{low} – {microseconds(found.high)}"


def milliseconds(value: float | None) -> str:
    """Return milliseconds as :func:`microseconds` writes them; what is below 1 ms and not 0 is not told apart."""
    if not value:
        return "–" if value is None else "0"
    return "< 1 ms" if value < 1 else microseconds(value * 1000)


def spread_of(found: Spread) -> tuple[str, str, str]:
    """Return median, 90th percentile and maximum in words; a dash for what too few samples do not support."""
    p50, p90 = (quantile(found.quantiles, p) for p in (50, 90))
    return (
        milliseconds(p50.value if p50 else None),
        milliseconds(p90.value if p90 else None),
        milliseconds(found.maximum),
    )


def slo_lines(measurement: Measurement | Convergence) -> list[str]:
    """Return one line per objective: verdict, objective, what was found."""
    return [f"{slo.verdict}: {slo.objective}: {slo_found(slo)}" for slo in measurement.slos]


def slo_found(slo: SloResult) -> str:
    """Return what was found for an objective: value, interval, and what it lacks."""
    value, low, high = (None if v is None else v * 1000 for v in (slo.value_ms, slo.low_ms, slo.high_ms))
    bounds = interval(Quantile(percentile=slo.percentile, value=value, low=low, high=high))
    return f"{microseconds(value)} ({bounds}){f'; {slo.note}' if slo.note else ''}"


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value
