# SPDX-License-Identifier: Apache-2.0
"""``report.md``: one screen for a job summary, in GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_cniconformance.model.convergence import Change
from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report.summary import name_of
from pytest_cniconformance.report.text import one_line
from pytest_cniconformance.report.view import (
    EMULATED,
    OUTCOMES,
    STATUSES,
    VERDICTS,
    attention,
    duration,
    microseconds,
    milliseconds,
    presentable,
    quantile,
    spread_of,
    tally_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_cniconformance.report.check import CheckRecord
    from pytest_cniconformance.report.record import RunRecord

_MOST_CHECKS = 8
_MOST_ROWS = 8
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")


def render(record: RunRecord) -> str:
    """Return the summary: headline, capabilities, what needs a reader, latency, convergence, traits."""
    record = presentable(record)
    look = VERDICTS[record.headline.verdict]
    blocks = [
        [f"# {look.mark} {inline(record.headline.text, 0)}"],
        [f"> **{EMULATED}**"] if record.cluster.emulated else [],
        [_facts(record)],
        _capabilities(record),
        _attention(record),
        _latency(record),
        _convergence(record),
        _traits(record),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def inline(text: str, limit: int = 240) -> str:
    """Return text on one line that Markdown shows as it is: no markup, no HTML, no link."""
    line = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A bare address would become a link; a mention would call somebody.
    return _SPECIAL.sub(r"\\\1", line).replace("://", ":&#8203;//").replace("@", "@&#8203;")


def code(text: str, limit: int = 160) -> str:
    """Return a code span; fences longer than any run of backticks inside keep it whole."""
    line = one_line(text, limit) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def _facts(record: RunRecord) -> str:
    cluster, cni = record.cluster, record.cni
    facts = [
        f"{cni.name} {cni.version}".strip(),
        f"Kubernetes {cluster.kubernetes}" if cluster.kubernetes else "",
        f"{len(cluster.nodes)} nodes" if cluster.nodes else "",
        f"provider {cluster.provider}",
        record.run.started,
        f"took {duration(record.run.duration_s)}",
        f"run {record.run.id}",
    ]
    return inline(" · ".join(fact for fact in facts if fact))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _capabilities(record: RunRecord) -> list[str]:
    rows = [
        (
            inline(name_of(c.capability)),
            inline(str(c.claim or "–")),
            f"{STATUSES[c.status].mark} {STATUSES[c.status].word}",
            inline(tally_text(c.counts)) or "–",
        )
        for c in record.capabilities
    ]
    return _table(("Capability", "Claim", "Status", "Checks"), rows) if rows else []


def _attention(record: RunRecord) -> list[str]:
    checks = attention(record)
    if not checks:
        return []
    lines = ["## Needs attention"]
    for check in checks[:_MOST_CHECKS]:
        lines += _check(check)
    if len(checks) > _MOST_CHECKS:
        lines.append(f"- and {len(checks) - _MOST_CHECKS} more: see `report.html`")
    return lines


def _check(check: CheckRecord) -> list[str]:
    look = OUTCOMES[check.outcome]
    lines = [f"- {look.mark} **{look.word}** {code(check.id)} {inline(check.title)}"]
    if check.mismatches:
        lines.append(f"  - {inline(check.mismatches[0].summary or check.message, 320)}")
    elif check.message:
        lines.append(f"  - {inline(check.message)}")
    if check.reproduce and check.outcome in (Outcome.FAILED, Outcome.NOT_ENFORCED):
        lines.append(f"  - reproduce: {code(check.reproduce[-1], 320)}")
    return lines


def _latency(record: RunRecord) -> list[str]:
    rows = []
    for measurement in (m for check in record.checks for m in check.measurements if m.baseline):
        added = quantile(measurement.over_baseline, 50)
        cells = [quantile(measurement.quantiles, p) for p in (50, 95, 99)]
        rows.append(
            (
                inline(measurement.name),
                *(microseconds(q.value) if q else "–" for q in cells),
                microseconds(added.value) if added else "–",
                str(measurement.verdict or "–"),
            )
        )
    head = ("Latency", "p50", "p95", "p99", "p50 over host", "SLO")
    return _table(head, rows[:_MOST_ROWS]) if rows else []


def _convergence(record: RunRecord) -> list[str]:
    rows = [
        (
            inline(f"{row.event}, {row.traffic}: {row.change}"),
            str(len(row.samples)),
            spread_of(row.first)[0],
            *spread_of(row.last),
            milliseconds(row.wrong.maximum),
        )
        for row in record.convergence
        # What stayed as it had to is worth a line only where it did not.
        if row.change in (Change.DENY, Change.ALLOW) or row.wrong.maximum
    ]
    head = (
        "Policy convergence", "n", "first change p50", "last change p50", "p90", "max", "leak or lockout max",
    )  # fmt: skip
    return _table(head, rows[:_MOST_ROWS]) if rows else []


def _traits(record: RunRecord) -> list[str]:
    rows = [(inline(t.name), inline(t.value), code(t.check)) for t in record.traits[:_MOST_ROWS]]
    return _table(("Trait", "Value", "Check"), rows) if rows else []
