# SPDX-License-Identifier: Apache-2.0
"""Hand-made SVG figures: no script, no style attributes (the page's CSP forbids them), every text escaped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from pytest_cniconformance.report.view import OUTCOMES, microseconds, quantile, tally, tally_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_cniconformance.model.measurement import Measurement

_PERCENTILES = (50.0, 90.0, 95.0, 99.0)


class _Scale(NamedTuple):
    """Logarithmic: microseconds to pixels."""

    low: float
    high: float
    left: float
    width: float

    def __call__(self, value: float | None) -> float:
        if value is None:
            return self.left + self.width
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return round(self.left + self.width * min(share, 1.0), 1)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of each decade; only the 1 when there are many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        digits = (1, 2, 5) if self.high < self.low * 200 else (1,)
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def outcome_bar(counts: dict[str, int], *, width: int = 1000, height: int = 10) -> Markup:
    """Return one stacked bar of outcomes; its text alternative is the tally in words."""
    total = sum(counts.values()) or 1
    x, parts = 0.0, []
    for outcome, count in tally(counts):
        share = width * count / total
        parts.append(
            f'<rect class="{OUTCOMES[outcome].tone} o-{outcome}" x="{x:.2f}" y="0" '
            f'width="{max(share - 1.5, 0.5):.2f}" height="{height}" rx="2"/>'
        )
        x += share
    return _svg(width, height, "bar", tally_text(counts) or "no checks", parts, stretch=True)


def percentile_chart(measurements: Sequence[Measurement]) -> Markup:
    """Return p50, p90, p95 and p99 of every path over its baseline, with intervals and limits, log scale."""
    values = [
        v
        for m in measurements
        for q in m.quantiles
        if q.percentile in _PERCENTILES
        for v in (q.value, q.low, q.high)
        if v is not None and v > 0
    ]
    if not values:
        return Markup("")
    scale = _Scale(min(values) * 0.85, max(values) * 1.15, 172.0, 360.0)
    row, top = 34, 8
    bottom = top + row * len(measurements)
    parts = _grid(scale, top, bottom)
    for index, measurement in enumerate(measurements):
        kind = "path" if measurement.baseline else "base"
        y = top + row * index + row // 2
        parts.append(
            f'<text class="name" x="164" y="{y + 4}" text-anchor="end">{escape(measurement.name)}</text>'
        )
        shown = [q for p in _PERCENTILES if (q := quantile(measurement.quantiles, p))]
        if not shown:
            continue
        parts.append(
            f'<line class="span {kind}" x1="{scale(shown[0].value)}" x2="{scale(shown[-1].value)}" y1="{y}" y2="{y}"/>'
        )
        for q in shown:
            title = (
                f"p{q.percentile:g} {microseconds(q.value)} [{microseconds(q.low)}, {microseconds(q.high)}]"
            )
            low = scale(q.low if q.low is not None else scale.low)
            high = scale(q.high if q.high is not None else q.value)
            # An interval without an upper end runs out of the figure as a dotted line.
            if q.high is None:
                end = scale.left + scale.width
                parts.append(f'<line class="open-end {kind}" x1="{high}" x2="{end}" y1="{y}" y2="{y}"/>')
            parts.append(
                f'<g><title>{escape(title)}</title><rect class="ci {kind}" x="{low}" y="{y - 6}" '
                f'width="{max(high - low, 1):.1f}" height="12" rx="3"/>'
                f'<circle class="dot {kind}" cx="{scale(q.value)}" cy="{y}" r="3.5"/></g>'
            )
    label = "; ".join(_sentence(m) for m in measurements)
    return _svg(560, bottom + 26, "chart", label, parts)


def ecdf_chart(measurements: Sequence[Measurement]) -> Markup:
    """Return the share of round trips that took at most x, from the histograms, log scale."""
    drawn = [m for m in measurements if m.histogram and m.count]
    bounds = [bound for m in drawn for bound, _ in m.histogram if bound > 0]
    if not bounds:
        return Markup("")
    scale = _Scale(min(bounds) * 0.85, max(bounds) * 1.15, 44.0, 488.0)
    top, bottom = 8, 188
    parts = _grid(scale, top, bottom)
    for share in (0, 50, 90, 99, 100):
        y = bottom - (bottom - top) * share / 100
        if share != 99:
            parts.append(f'<text class="tick" x="38" y="{y + 4:.0f}" text-anchor="end">{share}%</text>')
        parts.append(f'<line class="grid" x1="44" x2="532" y1="{y:.1f}" y2="{y:.1f}"/>')
    for index, m in enumerate(drawn):
        seen, points = 0, []
        for bound, count in m.histogram:
            points.append(f"{scale(bound)},{bottom - (bottom - top) * seen / m.count:.1f}")
            seen += count
            points.append(f"{scale(bound)},{bottom - (bottom - top) * seen / m.count:.1f}")
        kind = f"path s{index % 4}" if m.baseline else f"base s{index % 4}"
        parts.append(
            f'<polyline class="line {kind}" points="{" ".join(points)}"><title>{escape(m.name)}</title></polyline>'
        )
    label = "Share of round trips by duration: " + "; ".join(_sentence(m) for m in drawn)
    return _svg(560, bottom + 26, "chart", label, parts)


def _sentence(measurement: Measurement) -> str:
    shown = [q for p in _PERCENTILES if (q := quantile(measurement.quantiles, p))]
    return f"{measurement.name} " + ", ".join(f"p{q.percentile:g} {microseconds(q.value)}" for q in shown)


def _grid(scale: _Scale, top: float, bottom: float) -> list[str]:
    parts = []
    for tick in scale.ticks():
        x = scale(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{microseconds(tick)}</text>'
        )
    return parts


def _svg(
    width: int, height: int, kind: str, label: str, parts: Iterable[str], *, stretch: bool = False
) -> Markup:
    fit = ' preserveAspectRatio="none"' if stretch else ""
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}"{fit} role="img" aria-label="{escape(label)}">'
    # Every part is built above from numbers, our own class names and escaped text.
    return Markup(f"{head}{''.join(parts)}</svg>")
