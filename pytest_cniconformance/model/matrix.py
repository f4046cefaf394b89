# SPDX-License-Identifier: Apache-2.0
"""The truth table: which source should reach which destination, which did, and where the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pytest_cniconformance.model.verdict import Observation, Protocol, Verdict


class Cell(NamedTuple):
    """One pair of the matrix. Pods are named ``namespace/name`` as the reader of a check sees them."""

    source: str
    destination: str
    port: int
    protocol: Protocol = Protocol.TCP
    family: str = "ipv4"

    def __str__(self) -> str:
        suffix = " over IPv6" if self.family == "ipv6" else ""
        return f"{self.source} → {self.destination}:{self.port}/{self.protocol}{suffix}"


class Decision(StrEnum):
    """What the reference semantics say of one cell."""

    ALLOW = "allow"
    DENY = "deny"
    UNSPECIFIED = "unspecified"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected decision of one cell, and the policies or rules that decide it."""

    decision: Decision
    because: tuple[str, ...] = ()

    def accepts(self, observation: Observation) -> bool:
        """Whether the observation agrees. A probe error or a DNS failure agrees with nothing."""
        if observation.verdict in (Verdict.PROBE_ERROR, Verdict.DNS_FAILED):
            return False
        if self.decision is Decision.UNSPECIFIED:
            return True
        if self.decision is Decision.ALLOW:
            return observation.verdict is Verdict.OPEN
        return observation.verdict.denied


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A cell whose observation contradicts the expectation."""

    cell: Cell
    expected: Expectation
    observed: Observation

    @property
    def leak(self) -> bool:
        """Whether forbidden traffic went through."""
        return self.expected.decision is Decision.DENY and self.observed.verdict is Verdict.OPEN

    @property
    def unknown(self) -> bool:
        """Whether the prober failed, so that nothing is known of the cell.

        A probe error that names a responder is no such failure: the network delivered to someone else.
        """
        return (
            self.observed.verdict in (Verdict.PROBE_ERROR, Verdict.DNS_FAILED) and not self.observed.responder
        )

    def __str__(self) -> str:
        wanted = "open" if self.expected.decision is Decision.ALLOW else "denied"
        because = f" ({'; '.join(self.expected.because)})" if self.expected.because else ""
        return f"{self.cell} expected {wanted}{because}, observed {self.observed}"


def compare(
    expected: Mapping[Cell, Expectation], observed: Mapping[Cell, Observation]
) -> tuple[Mismatch, ...]:
    """Return every expected cell whose observation disagrees, in the order of ``expected``.

    A cell that was not observed is a mismatch with ``probe-error``: silence is never agreement.
    """
    missing = Observation(Verdict.PROBE_ERROR, cause="the cell was not probed")
    found = []
    for cell, expectation in expected.items():
        observation = observed.get(cell, missing)
        if not expectation.accepts(observation):
            found.append(Mismatch(cell, expectation, observation))
    return tuple(found)


_SYMBOLS = {
    Verdict.OPEN: ".",
    Verdict.DROPPED: "X",
    Verdict.REFUSED: "R",
    Verdict.UNREACHABLE: "U",
    Verdict.HTTP_DENIED: "H",
    Verdict.DNS_FAILED: "N",
    Verdict.PROBE_ERROR: "?",
}


def render(observed: Mapping[Cell, Observation], wrong: Iterable[Cell] = ()) -> str:
    """Return the matrix as text, one block per port; ``!`` marks a cell that disagrees."""
    bad = set(wrong)
    lines: list[str] = []
    for port, protocol, family in dict.fromkeys((c.port, c.protocol, c.family) for c in observed):
        cells = {
            (c.source, c.destination): c
            for c in observed
            if (c.port, c.protocol, c.family) == (port, protocol, family)
        }
        sources = list(dict.fromkeys(source for source, _ in cells))
        destinations = list(dict.fromkeys(destination for _, destination in cells))
        width = max(map(len, sources))
        lines.append(f"{port}/{protocol}{' IPv6' if family == 'ipv6' else ''}")
        lines.append(" " * width + "  " + " ".join(destinations))
        for source in sources:
            row = []
            for destination in destinations:
                cell = cells.get((source, destination))
                mark = " " if cell is None else _SYMBOLS[observed[cell].verdict]
                if cell in bad:
                    mark += "!"
                row.append(mark.center(len(destination)))
            lines.append(f"{source:<{width}}  {' '.join(row)}".rstrip())
    lines.append(
        ". open  X dropped  R refused  U unreachable  H HTTP 403  N no DNS  ? probe error  ! unexpected"
    )
    return "\n".join(lines)
