# SPDX-License-Identifier: Apache-2.0
"""The terminal summary as plain lines; the plugin writes them with ``write_line(text, **markup)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report.summary import name_of
from pytest_cniconformance.report.text import one_line
from pytest_cniconformance.report.view import (
    EMULATED,
    OUTCOMES,
    STATUSES,
    VERDICTS,
    Tone,
    attention,
    presentable,
    slo_lines,
    tally_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_cniconformance.model.convergence import Convergence
    from pytest_cniconformance.model.measurement import Measurement
    from pytest_cniconformance.report.check import CheckRecord
    from pytest_cniconformance.report.record import RunRecord

_MARKUP = {Tone.GOOD: "green", Tone.BAD: "red", Tone.UNSURE: "yellow"}
_MOST_MISMATCHES = 3
_MOST_CHECKS = 20
_FULL_NOT_ENFORCED = 2


class Line(NamedTuple):
    """One line without control characters, and the markup that pytest's terminal writer takes."""

    text: str
    markup: dict[str, bool]


def lines(record: RunRecord, paths: Mapping[str, Path] | None = None) -> list[Line]:
    """Return the summary: capabilities, what needs a reader, traits, where the reports are, the headline.

    The headline comes last: it is what stands above the prompt.
    """
    record = presentable(record)
    return [
        *_capabilities(record),
        *_attention(record),
        *_traits(record),
        *(_line(f"{name:<5} {path}") for name, path in (paths or {}).items()),
        *([_line(EMULATED, Tone.UNSURE)] if record.cluster.emulated else []),
        _line(record.headline.text, VERDICTS[record.headline.verdict].tone, bold=True),
    ]


def _line(text: str, tone: Tone = Tone.NEUTRAL, *, bold: bool = False, indent: int = 0) -> Line:
    markup = {_MARKUP[tone]: True} if tone in _MARKUP else {}
    # Runs of blanks are columns here: fold only what is no blank.
    flat = " ".join(text.replace("\t", " ").splitlines())
    return Line(" " * indent + flat, markup | ({"bold": True} if bold else {}))


def _capabilities(record: RunRecord) -> Iterator[Line]:
    if not record.capabilities:
        return
    rows = [
        (
            one_line(name_of(c.capability)),
            str(c.claim or "-"),
            STATUSES[c.status].word,
            tally_text(c.counts) or "-",
            STATUSES[c.status].tone,
        )
        for c in record.capabilities
    ]
    head = ("capability", "claim", "status")
    widths = [max(len(head[i]), *(len(row[i]) for row in rows)) for i in range(3)]
    yield _line(_columns((*head, "checks"), widths), bold=True)
    for *cells, tone in rows:
        yield _line(_columns([str(cell) for cell in cells], widths), tone)
    yield _line("")


def _columns(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, *cells[len(widths) :]])


def _attention(record: RunRecord) -> Iterator[Line]:
    checks = attention(record)
    ignored = 0
    for check in checks[:_MOST_CHECKS]:
        # A CNI without policy ignores every one of them: the first proofs speak for the rest.
        ignored += check.outcome is Outcome.NOT_ENFORCED
        brief = check.outcome is Outcome.NOT_ENFORCED and ignored > _FULL_NOT_ENFORCED
        yield from _check(check, brief=brief)
    if len(checks) > _MOST_CHECKS:
        yield _line(f"... and {len(checks) - _MOST_CHECKS} more, see the report")
    if checks:
        yield _line("")


def _check(check: CheckRecord, *, brief: bool) -> Iterator[Line]:
    look = OUTCOMES[check.outcome]
    yield _line(f"{look.word.upper()} {one_line(check.id)} {one_line(check.title)}", look.tone, bold=True)
    if brief:
        return
    if check.message and check.message not in (m.summary for m in check.mismatches):
        yield _line(one_line(check.message, 400), indent=2)
    for mismatch in check.mismatches[:_MOST_MISMATCHES]:
        yield _line(
            one_line(mismatch.summary or f"{mismatch.source} → {mismatch.destination}", 400), indent=2
        )
    if len(check.mismatches) > _MOST_MISMATCHES:
        yield _line(f"... and {len(check.mismatches) - _MOST_MISMATCHES} more cells", indent=2)
    judged: list[Measurement | Convergence] = [*check.measurements, *check.convergence]
    for text in (text for each in judged for text in slo_lines(each)):
        if not text.startswith("pass"):
            yield _line(text, indent=2)
    if check.outcome in (Outcome.FAILED, Outcome.NOT_ENFORCED):
        for command in check.reproduce:
            yield _line(f"$ {one_line(command)}", indent=2)


def _traits(record: RunRecord) -> Iterator[Line]:
    for trait in record.traits:
        note = f" ({one_line(trait.note)})" if trait.note else ""
        yield _line(f"trait {one_line(trait.name)}: {one_line(trait.value)}{note}")
    if record.traits:
        yield _line("")
