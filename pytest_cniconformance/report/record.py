# SPDX-License-Identifier: Apache-2.0
"""The record of one run, schema-versioned: the single source of every report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.model.convergence import Convergence
from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report import codec
from pytest_cniconformance.report.check import CheckRecord, Trait
from pytest_cniconformance.report.summary import CapabilitySummary, Claim, Headline, headline, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Which run this was. Times are RFC 3339 in UTC, ``exit`` is pytest's exit status.

    ``selection`` says what the user's selection left out of the bundled checks; empty if nothing.
    """

    id: str
    started: str
    finished: str
    duration_s: float
    exit: int = 0
    command: str = ""
    product: str = ""
    selection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CniInfo:
    """The CNI under test: asked for, detected, and what its profile claims per capability."""

    requested: str
    detected: str = ""
    version: str = ""
    claims: dict[str, Claim] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name to speak of: what was detected, else what was asked for."""
        return self.detected or self.requested


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """One node, as its status reports it."""

    name: str
    kernel: str = ""
    os: str = ""
    arch: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """Where the run took place. ``emulated`` marks a dataplane that is no evidence about a real CNI."""

    provider: str
    emulated: bool = False
    notes: tuple[str, ...] = ()
    kubernetes: str = ""
    context: str = ""
    nodes: tuple[NodeInfo, ...] = ()
    families: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The fingerprint of the side that ran the tests."""

    python: str = ""
    pytest: str = ""
    plugins: dict[str, str] = field(default_factory=dict)
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. Build it with :meth:`assemble`, which computes headline, outcomes, capabilities and traits."""

    schema: str = SCHEMA_VERSION
    headline: Headline
    run: RunInfo
    cni: CniInfo
    cluster: ClusterInfo
    environment: Environment
    vantage: str = ""
    outcomes: dict[str, int]
    capabilities: tuple[CapabilitySummary, ...]
    traits: tuple[Trait, ...]
    checks: tuple[CheckRecord, ...]
    convergence: tuple[Convergence, ...] = ()

    @classmethod
    def assemble(
        cls,
        *,
        run: RunInfo,
        cni: CniInfo,
        cluster: ClusterInfo,
        environment: Environment,
        checks: Iterable[CheckRecord],
        vantage: str = "",
        convergence: Iterable[Convergence] = (),
    ) -> RunRecord:
        """Build the record: same checks in any order give the same record.

        ``vantage`` says in one phrase from where traffic that enters the cluster was sent; ``convergence`` are
        the rows of all checks, merged.
        """
        ordered = tuple(sorted(checks, key=lambda check: check.sort_key))
        counts = Counter(check.outcome for check in ordered)
        capabilities = summarise(ordered, cni.claims)
        return cls(
            headline=headline(
                cni.name,
                ordered,
                capabilities,
                interrupted=run.exit not in (0, 1),
                selection=run.selection,
            ),
            run=run,
            cni=cni,
            cluster=cluster,
            environment=environment,
            vantage=vantage,
            outcomes={str(outcome): counts[outcome] for outcome in Outcome if counts[outcome]},
            capabilities=capabilities,
            traits=tuple(
                Trait(name=t.name, value=t.value, note=t.note, check=t.check or check.id)
                for check in ordered
                for t in check.traits
            ),
            checks=ordered,
            convergence=tuple(convergence),
        )

    def to_json(self) -> dict[str, Any]:
        """Return builtins only; ``json.dumps`` of it is ``report.json``."""
        data: dict[str, Any] = codec.dump(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> RunRecord:
        """Read a record of any 1.x; RecordError names what is wrong."""
        version = data.get("schema") if isinstance(data, dict) else None
        if not isinstance(version, str) or version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise codec.RecordError(
                f"this is no cniconformance report that {SCHEMA_VERSION} can read (schema: {version!r})"
            )
        return codec.load(cls, data)
