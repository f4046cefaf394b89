# SPDX-License-Identifier: Apache-2.0
"""How ``cniconformance evaluate`` prints verdicts: JSON, prose on one pair, a list, or a matrix."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_cniconformance.model.matrix import Decision
from pytest_cniconformance.policy import ClusterState
from pytest_cniconformance.policy.evaluate import Ruling
from pytest_cniconformance.policy.explain import explain
from pytest_cniconformance.policy.halves import DESTINATION, SOURCE
from pytest_cniconformance.policy.survey import Entry, Survey

_SYMBOLS = {Decision.ALLOW: ".", Decision.DENY: "X", Decision.UNSPECIFIED: "?"}
_BY_FAMILY, _NOT_ASKED = "~", " "
_LEGEND = (
    ". allow   X deny   ? unspecified: the API leaves it open   ~ IPv4 and IPv6 differ   "
    "blank: not a port of this destination"
)
_ALL_ROWS = 24
"""A matrix of so many pods is printed whole; in a larger one pods that are treated alike share a row."""
_WIDEST = 40


def as_json(survey: Survey) -> Iterator[str]:
    """Yield the JSON text, one verdict a line, written while it is computed."""
    # Pairs share rulings: each is written once, and only the names of the ends are put in.
    texts: dict[int, tuple[Ruling, str]] = {}
    quoted = {name: json.dumps(name) for name in (*survey.sources, *survey.destinations)}
    # The first verdict comes before any output: what cannot be judged is an error and no half of a document.
    entries = iter(survey)
    first = next(entries, None)
    yield '{"verdicts": ['
    line = ""
    for source, destination, port, protocol, family, ruling in itertools.chain(
        filter(None, [first]), entries
    ):
        if line:
            yield line + ","
        kept = texts.get(id(ruling))
        if kept is None:
            kept = texts[id(ruling)] = (ruling, _ruling_json(ruling))
        s, d = quoted[source], quoted[destination]
        only = f'"family": "{family}", ' if family else ""
        told = kept[1].replace(SOURCE, s[1:-1]).replace(DESTINATION, d[1:-1])
        line = f'{{"from": {s}, "to": {d}, "port": {port}, "protocol": "{protocol}", {only}{told}'
    if line:
        yield line
    yield "]}"


def _ruling_json(ruling: Ruling) -> str:
    fields = {
        "ingress": str(ruling.ingress),
        "egress": str(ruling.egress),
        "verdict": str(ruling.decision),
        "because": list(ruling.because),
    }
    return json.dumps(fields, ensure_ascii=False)[1:]


def as_prose(state: ClusterState, survey: Survey) -> Iterator[str]:
    """Yield the explanation of each verdict at length."""
    for number, entry in enumerate(survey):
        if number:
            yield ""
        if entry.family:
            yield f"over {_family(entry)}:"
        yield from explain(
            state,
            entry.source,
            entry.destination,
            entry.port,
            entry.protocol,
            entry.family or survey.family(entry),
        )


def as_list(survey: Survey) -> Iterator[str]:
    """Yield one line per verdict, with its reasons."""
    for entry in survey:
        over = f" over {_family(entry)}" if entry.family else ""
        told = entry.told
        yield f"{entry.source} → {entry.destination}:{entry.port}/{entry.protocol}{over}: {told.decision}"
        yield from (f"  {line}" for line in told.because)


def _family(entry: Entry) -> str:
    return "IPv6" if entry.family == "ipv6" else "IPv4"


def as_matrix(survey: Survey) -> Iterator[str]:
    """Yield the matrices, one per port, and the count of verdicts."""
    total: Counter[str] = Counter()
    for port in survey.ports:
        cells, counts = _cells(survey, port)
        total += counts
        yield f"{port[0]}/{port[1]}"
        yield from _matrix(survey.sources, cells)
        yield ""
    yield _LEGEND
    yield f"{total.total()} verdicts: " + ", ".join(f"{total[str(d)]} {d}" for d in Decision)


def _cells(survey: Survey, port: tuple[int, str]) -> tuple[list[list[str]], Counter[str]]:
    """Return the symbols, row by source and column by the same names."""
    number = {name: i for i, name in enumerate(survey.sources)}
    cells = [[_NOT_ASKED] * len(number) for _ in number]
    counts: Counter[str] = Counter()
    for source, destination, _, _, family, ruling in survey.on(port):
        cells[number[source]][number[destination]] = _BY_FAMILY if family else _SYMBOLS[ruling.decision]
        counts[str(ruling.decision)] += 1
    return cells, counts


def _matrix(names: Sequence[str], cells: list[list[str]]) -> Iterator[str]:
    groups = [[i] for i in range(len(names))] if len(names) <= _ALL_ROWS else _alike(cells)
    if len(groups) > _WIDEST:
        yield from _summary(names, cells)
        return
    labels = [_label(names, group) for group in groups]
    width, digits = max(map(len, labels)), len(str(len(groups)))
    # A pod that is no destination of this port needs no column.
    columns = [i for i, group in enumerate(groups) if any(row[group[0]] != _NOT_ASKED for row in cells)]
    yield " " * (digits + 2 + width) + "".join(f" {i + 1:>{digits}}" for i in columns)
    for i, group in enumerate(groups):
        row = "".join(f" {_cell(cells, group, groups[j]):>{digits}}" for j in columns)
        yield f"{i + 1:>{digits}}  {labels[i]:<{width}}{row}".rstrip()


def _label(names: Sequence[str], group: list[int]) -> str:
    more = f" and {len(group) - 1} alike" if len(group) > 1 else ""
    return names[group[0]] + more


def _cell(cells: list[list[str]], sources: list[int], destinations: list[int]) -> str:
    same = sources is destinations and len(sources) > 1
    return cells[sources[0]][destinations[1 if same else 0]]


def _alike(cells: list[list[str]]) -> list[list[int]]:
    """Return the pods in groups whose members reach the same, are reached by the same, and treat each other alike."""
    rows = ["".join(row) for row in cells]
    columns = ["".join(column) for column in zip(*cells, strict=True)]
    groups: list[list[int]] = []
    left = list(range(len(rows)))
    # What a pod is to itself must not set it apart: it is taken for what its group's members are to each other.
    for symbol in (".", "X", "?", _BY_FAMILY, _NOT_ASKED):
        found: dict[tuple[str, str], list[int]] = {}
        for i in left:
            key = tuple(line[:i] + symbol + line[i + 1 :] for line in (rows[i], columns[i]))
            found.setdefault((key[0], key[1]), []).append(i)
        groups += [group for group in found.values() if len(group) > 1]
        left = [group[0] for group in found.values() if len(group) == 1]
    return sorted(groups + [[i] for i in left])


def _summary(names: Sequence[str], cells: list[list[str]]) -> Iterator[str]:
    """Yield the counts between namespaces: the matrix itself would not fit a terminal."""
    places = [name.partition("/")[0] for name in names]
    # The names are sorted, so that the pods of a namespace stand side by side.
    spans = [(place, places.index(place), places.count(place)) for place in dict.fromkeys(places)]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for source, row in zip(places, cells, strict=True):
        for destination, first, number in spans:
            counts.setdefault((source, destination), Counter()).update(row[first : first + number])
    yield "too many pods that are treated differently for a matrix; by namespace (--json has every pair):"
    uniform: dict[str, list[str]] = {}
    for (source, destination), found in sorted(counts.items()):
        asked = {symbol: count for symbol, count in found.items() if symbol != _NOT_ASKED}
        if asked:
            text = ", ".join(f"{count} {symbol}" for symbol, count in sorted(asked.items()))
            uniform.setdefault(source, []).append(f"{destination}: {text}")
    for source, parts in uniform.items():
        yield f"  {source} → " + "; ".join(parts)
