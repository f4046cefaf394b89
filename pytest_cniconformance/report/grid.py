# SPDX-License-Identifier: Apache-2.0
"""A matrix for people: as a table of cells with words, marks and the deciding rule, and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.report.check import NO_CELL
from pytest_cniconformance.report.text import visible

if TYPE_CHECKING:
    from pytest_cniconformance.report.check import MatrixRecord, Plane

_WORDS = {
    ".": ("open", "●", "open"),
    "X": ("dropped", "✕", "denied"),
    "R": ("refused", "R", "denied"),
    "U": ("unreachable", "U", "denied"),
    "H": ("HTTP 403", "H", "denied"),
    "N": ("no DNS", "N", "unknown"),
    "?": ("probe error", "?", "unknown"),
}
_EXPECTED = {".": "open", "X": "denied", "~": "left open by the API"}
LEGEND = tuple(_WORDS.values())


class GridCell(NamedTuple):
    """``kind`` is a CSS class; ``wrong`` marks a contradiction; ``title`` says why, where there is a why."""

    word: str
    mark: str
    kind: str
    wrong: bool
    title: str


class Grid(NamedTuple):
    """One plane: a label, the column heads, and (row head, cells) where a cell may be missing."""

    label: str
    destinations: tuple[str, ...]
    rows: tuple[tuple[str, tuple[GridCell | None, ...]], ...]
    wrong: int
    long_heads: bool


def grids(matrix: MatrixRecord) -> list[Grid]:
    """Return one grid per plane."""
    return [_grid(matrix, plane) for plane in matrix.planes]


def matrix_text(matrix: MatrixRecord) -> str:
    """Return a matrix as text; ``!`` marks an observation that the expectation does not accept."""
    width = max(map(len, matrix.sources), default=0)
    blocks = [matrix.title]
    for plane in matrix.planes:
        blocks += [plane.label, " " * width + "  " + " ".join(matrix.destinations)]
        for source, wanted, found in zip(matrix.sources, plane.expected, plane.observed, strict=True):
            marks = [f"{f}!" if disagrees(w, f) else f for w, f in zip(wanted, found, strict=True)]
            cells = " ".join(m.center(len(d)) for m, d in zip(marks, matrix.destinations, strict=True))
            blocks.append(f"{source:<{width}}  {cells}".rstrip())
    return visible("\n".join(blocks))


def disagrees(expected: str, observed: str) -> bool:
    """Return whether an observed symbol contradicts the expected one; unknown observations always do."""
    if observed in "?N":
        return True
    return (expected == "." and observed != ".") or (expected == "X" and observed == ".")


def _grid(matrix: MatrixRecord, plane: Plane) -> Grid:
    rows = []
    for number, (source, expected, observed) in enumerate(
        zip(matrix.sources, plane.expected, plane.observed, strict=False)
    ):
        reasons = plane.because[number] if number < len(plane.because) else ()
        cells = [
            _cell(wanted, found, _reason(matrix, reasons, column))
            for column, (wanted, found) in enumerate(zip(expected, observed, strict=False))
        ]
        rows.append((source, tuple(cells)))
    wrong = sum(cell.wrong for _, cells in rows for cell in cells if cell)
    long_heads = max(map(len, matrix.destinations), default=0) > 4
    return Grid(plane.label, matrix.destinations, tuple(rows), wrong, long_heads)


def _cell(expected: str, observed: str, reason: str) -> GridCell | None:
    if observed == NO_CELL:
        return None
    word, mark, kind = _WORDS.get(observed, _WORDS["?"])
    wrong = disagrees(expected, observed)
    title = ""
    if wrong or reason or expected == "~":
        wanted = _EXPECTED.get(expected, expected)
        title = f"{word}, expected {wanted}{f': {reason}' if reason else ''}"
    return GridCell(word, mark, kind, wrong, title)


def _reason(matrix: MatrixRecord, reasons: tuple[int, ...], column: int) -> str:
    index = reasons[column] if column < len(reasons) else -1
    return matrix.reasons[index] if 0 <= index < len(matrix.reasons) else ""
