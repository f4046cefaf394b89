# SPDX-License-Identifier: Apache-2.0
"""The record of one check: what it asked, what became of it, and the evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.model.convergence import Convergence
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation, Mismatch
from pytest_cniconformance.model.measurement import Measurement
from pytest_cniconformance.model.requirement import Level, Outcome
from pytest_cniconformance.model.verdict import Observation, Verdict
from pytest_cniconformance.report import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

SUITE_ORDER = ("connectivity", "netpol", "dns", "services", "loadbalancer", "l7", "latency")
NO_CELL = " "
EXPECTED_SYMBOLS = {Decision.ALLOW: ".", Decision.DENY: "X", Decision.UNSPECIFIED: "~"}
OBSERVED_SYMBOLS = {
    Verdict.OPEN: ".",
    Verdict.DROPPED: "X",
    Verdict.REFUSED: "R",
    Verdict.UNREACHABLE: "U",
    Verdict.HTTP_DENIED: "H",
    Verdict.DNS_FAILED: "N",
    Verdict.PROBE_ERROR: "?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchRecord:
    """A cell whose observation contradicts the expectation; ``because`` are the rules that decide it."""

    source: str
    destination: str
    port: int
    protocol: str = "TCP"
    family: str = "ipv4"
    expected: Decision
    because: tuple[str, ...] = ()
    observed: dict[str, Any] = field(default_factory=dict)
    summary: str = ""

    @classmethod
    def of(cls, mismatch: Mismatch) -> MismatchRecord:
        """Build the record of a mismatch, with the sentence that people read as ``summary``."""
        cell = mismatch.cell
        return cls(
            source=cell.source,
            destination=cell.destination,
            port=cell.port,
            protocol=str(cell.protocol),
            family=cell.family,
            expected=mismatch.expected.decision,
            because=mismatch.expected.because,
            observed=mismatch.observed.to_json(),
            summary=str(mismatch),
        )

    @property
    def verdict(self) -> str:
        """The observed verdict, ``probe-error`` where nothing was recorded."""
        return str(self.observed.get("verdict", Verdict.PROBE_ERROR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One port of a matrix: a string per source, a symbol per destination, as in a truth table.

    ``expected``: ``.`` allow, ``X`` deny, ``~`` left open by the API. ``observed``: ``.`` open, ``X``
    dropped, ``R`` refused, ``U`` unreachable, ``H`` HTTP 403, ``N`` no DNS, ``?`` probe error. A space is
    no cell. ``because`` gives each cell's index into the ``reasons`` of the matrix, -1 for none; it is empty
    when there are none.
    """

    port: int
    protocol: str = "TCP"
    family: str = "ipv4"
    expected: tuple[str, ...]
    observed: tuple[str, ...]
    because: tuple[tuple[int, ...], ...] = ()

    @property
    def label(self) -> str:
        """The port as people write it: ``80/TCP over IPv6``."""
        return f"{self.port}/{self.protocol}{' over IPv6' if self.family == 'ipv6' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRecord:
    """An expected and observed truth table, one plane per port, protocol and family."""

    title: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    planes: tuple[Plane, ...]
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, title: str, expected: Mapping[Cell, Expectation], observed: Mapping[Cell, Observation]
    ) -> MatrixRecord:
        """Build the record from what was expected and observed; a cell that was not probed reads ``?``."""
        cells = list(dict.fromkeys([*expected, *observed]))
        sources = tuple(dict.fromkeys(cell.source for cell in cells))
        destinations = tuple(dict.fromkeys(cell.destination for cell in cells))
        reasons: dict[str, int] = {}
        planes = []
        missing = Observation(Verdict.PROBE_ERROR)
        for port, protocol, family in dict.fromkeys((c.port, c.protocol, c.family) for c in cells):
            expected_rows, observed_rows, because_rows = [], [], []
            for source in sources:
                wanted, found, because = "", "", []
                for destination in destinations:
                    cell = Cell(source, destination, port, protocol, family)
                    present = cell in expected or cell in observed
                    expectation = expected.get(cell, Expectation(Decision.UNSPECIFIED))
                    wanted += EXPECTED_SYMBOLS[expectation.decision] if present else NO_CELL
                    verdict = observed.get(cell, missing).verdict
                    found += OBSERVED_SYMBOLS[verdict] if present else NO_CELL
                    reason = "; ".join(expectation.because)
                    because.append(reasons.setdefault(reason, len(reasons)) if reason else -1)
                expected_rows.append(wanted)
                observed_rows.append(found)
                because_rows.append(tuple(because))
            planes.append(
                Plane(
                    port=port,
                    protocol=str(protocol),
                    family=family,
                    expected=tuple(expected_rows),
                    observed=tuple(observed_rows),
                    because=tuple(because_rows) if any(max(row) >= 0 for row in because_rows) else (),
                )
            )
        return cls(
            title=title,
            sources=sources,
            destinations=destinations,
            planes=tuple(planes),
            reasons=tuple(reasons),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """Something that the API leaves open: measured and reported, never failed."""

    name: str
    value: str
    note: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A known deviation that the CNI's profile lists, with its reference and the day that it expires."""

    reference: str
    expires: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """One check: ``suite`` is its marker group, ``source`` the URL of the requirement, times are seconds."""

    id: str
    nodeid: str
    title: str
    suite: str
    level: Level
    feature: str
    source: str
    outcome: Outcome
    message: str = ""
    duration_s: float = 0.0
    attempts: int = 1
    worker: str = ""
    mismatches: tuple[MismatchRecord, ...] = ()
    matrices: tuple[MatrixRecord, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    convergence: tuple[Convergence, ...] = ()
    traits: tuple[Trait, ...] = ()
    manifests: tuple[str, ...] = ()
    reproduce: tuple[str, ...] = ()
    deviation: Deviation | None = None
    details: str = ""

    @property
    def capability(self) -> str:
        """The first part of the feature path: what a CNI profile claims or does not."""
        return self.feature.partition("/")[0]

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Suite in reading order, then id with its numbers counted as numbers, then node id."""
        parts = re.split(r"(\d+)", self.id)
        place = SUITE_ORDER.index(self.suite) if self.suite in SUITE_ORDER else len(SUITE_ORDER)
        return (
            place,
            self.suite,
            [(int(p), "") if p.isdecimal() else (-1, p) for p in parts if p],
            self.nodeid,
        )

    def to_json(self) -> dict[str, Any]:
        """Return builtins only, as JSON and execnet carry them."""
        data: dict[str, Any] = codec.dump(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> CheckRecord:
        """Read what :meth:`to_json` wrote; RecordError names a field that is wrong."""
        return codec.load(cls, data, "check")
