# SPDX-License-Identifier: Apache-2.0
"""What the checks add up to: one status per capability and feature, and the headline of the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_cniconformance.model.requirement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_cniconformance.report.check import CheckRecord


class Claim(StrEnum):
    """What the profile of the CNI says of a capability."""

    CLAIMED = "claimed"
    NOT_CLAIMED = "not-claimed"
    NOT_ENFORCED = "not-enforced"
    """The API accepts its objects and the CNI is known to ignore them."""


class Status(StrEnum):
    """What the checks of a capability or feature show together."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    NOT_ENFORCED = "not-enforced"
    NOT_SUPPORTED = "not-supported"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"
    NO_RESULT = "no-result"


class HeadlineVerdict(StrEnum):
    """The verdict on the run, worst first."""

    NOT_CONFORMANT = "not-conformant"
    NOT_ENFORCED = "not-enforced"
    INCOMPLETE = "incomplete"
    CONFORMANT_IN_PART = "conformant-in-part"
    """Everything that was run conforms, but the selection left out something that the CNI claims."""
    CONFORMANT = "conformant"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSummary:
    """The status of one feature path and how often each outcome occurred."""

    feature: str
    status: Status
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitySummary:
    """The status of one capability, beside what the CNI's profile claims of it (None: nothing)."""

    capability: str
    claim: Claim | None = None
    status: Status
    counts: dict[str, int]
    features: tuple[FeatureSummary, ...] = field(default=())

    @property
    def total(self) -> int:
        """How many checks belong to it, those without a result included."""
        return sum(self.counts.values())

    @property
    def passed(self) -> int:
        """How many of them passed."""
        return self.counts.get(str(Outcome.PASSED), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One verdict, the sentence that says why (``statement``), and the same with the counts (``text``)."""

    verdict: HeadlineVerdict
    statement: str
    text: str


CAPABILITY_ORDER = ("connectivity", "networkpolicy", "dns", "services", "loadbalancer", "l7", "latency")
CAPABILITY_NAMES = {
    "connectivity": "Connectivity",
    "networkpolicy": "NetworkPolicy",
    "dns": "DNS",
    "services": "Services",
    "loadbalancer": "LoadBalancer",
    "l7": "L7 policy",
    "latency": "Latency",
}


def status_of(outcomes: Iterable[Outcome]) -> Status:
    """Return what these outcomes show together.

    Supported only if every check passed. One contradiction fails it; one object that the dataplane silently
    ignores makes it not-enforced, for whoever relies on it is unprotected; an error or an inconclusive check
    leaves it open. What the user skipped says nothing.
    """
    counts = Counter(outcome for outcome in outcomes if outcome is not Outcome.SKIPPED)
    if not counts:
        return Status.NO_RESULT
    if counts[Outcome.FAILED]:
        return Status.FAILED
    if counts[Outcome.NOT_ENFORCED]:
        return Status.NOT_ENFORCED
    if counts[Outcome.ERROR] or counts[Outcome.INCONCLUSIVE]:
        return Status.INCONCLUSIVE
    if set(counts) == {Outcome.PASSED}:
        return Status.SUPPORTED
    if set(counts) == {Outcome.NOT_SUPPORTED}:
        return Status.NOT_SUPPORTED
    return Status.PARTIAL


def summarise(checks: Sequence[CheckRecord], claims: Mapping[str, Claim]) -> tuple[CapabilitySummary, ...]:
    """Return one summary per capability that has checks or a claim, in the order that people read them."""
    names = {check.capability for check in checks} | set(claims)
    known = [name for name in CAPABILITY_ORDER if name in names]
    result = []
    for name in (*known, *sorted(names.difference(known))):
        mine = [check for check in checks if check.capability == name]
        result.append(
            CapabilitySummary(
                capability=name,
                claim=claims.get(name),
                status=status_of(check.outcome for check in mine),
                counts=_counts(mine),
                features=tuple(
                    FeatureSummary(
                        feature=feature,
                        status=status_of(c.outcome for c in mine if c.feature == feature),
                        counts=_counts([c for c in mine if c.feature == feature]),
                    )
                    for feature in sorted({check.feature for check in mine})
                ),
            )
        )
    return tuple(result)


def headline(
    cni: str,
    checks: Sequence[CheckRecord],
    capabilities: Sequence[CapabilitySummary],
    *,
    interrupted: bool = False,
    selection: str = "",
) -> Headline:
    """Return the verdict on the run and its sentence; errors and inconclusive never count as passed.

    ``selection`` says what the user left out: what was not run cannot make a CNI conformant.
    """
    ids: dict[Outcome, list[str]] = {}
    for check in checks:
        ids.setdefault(check.outcome, []).append(check.id)
    failed = ids.get(Outcome.FAILED, [])
    open_ends = [*ids.get(Outcome.ERROR, []), *ids.get(Outcome.INCONCLUSIVE, [])]
    ignored = [c for c in capabilities if c.counts.get(str(Outcome.NOT_ENFORCED))]
    untested = [
        name_of(c.capability)
        for c in capabilities
        if c.claim is Claim.CLAIMED and c.status is Status.NO_RESULT
    ]
    tally = _tally(ids)
    parts = [_ignored(capability, checks) for capability in ignored]
    if failed:
        verdict = HeadlineVerdict.NOT_CONFORMANT
        noun = "requirement" if len(failed) == 1 else "requirements"
        parts.insert(0, f"NOT CONFORMANT: {len(failed)} {noun} broken ({_named(failed)})")
    elif ignored:
        verdict = HeadlineVerdict.NOT_ENFORCED
    elif open_ends or interrupted or not ids.get(Outcome.PASSED):
        verdict = HeadlineVerdict.INCOMPLETE
    elif untested or selection:
        verdict = HeadlineVerdict.CONFORMANT_IN_PART
        parts.append("conformant in what was tested")
    else:
        verdict = HeadlineVerdict.CONFORMANT
        parts.append("conformant with what it claims")
    if open_ends:
        parts.append(f"INCOMPLETE: no verdict from {_named(open_ends)}")
    elif interrupted:
        parts.append("INCOMPLETE: the run did not reach its end")
    elif not any(ids.get(outcome) for outcome in Outcome if outcome is not Outcome.SKIPPED):
        parts.append("INCOMPLETE: no check gave a result")
    elif not parts:
        parts.append("INCOMPLETE: nothing passed")
    conformant = verdict in (HeadlineVerdict.CONFORMANT, HeadlineVerdict.CONFORMANT_IN_PART)
    statement = text = f"{cni}: {'; '.join(parts)}"
    if tally:
        text += f"{':' if conformant else '.'} {tally}"
    gaps = [f"not tested: {', '.join(untested)}"] if untested else []
    gaps += [selection] if selection else []
    rest = f" ({'; '.join(gaps)})" if gaps else ""
    return Headline(verdict=verdict, statement=statement + rest, text=text + rest)


def name_of(capability: str) -> str:
    """Return the capability as people write it."""
    return CAPABILITY_NAMES.get(capability, capability)


def _ignored(capability: CapabilitySummary, checks: Sequence[CheckRecord]) -> str:
    proof = [
        check.id
        for check in checks
        if check.outcome is Outcome.NOT_ENFORCED and check.capability == capability.capability
    ]
    silent = [feature for feature in capability.features if feature.status is Status.NOT_ENFORCED]
    name = name_of(capability.capability)
    if len(silent) * 2 <= len(capability.features):
        # Most of it works: naming the features keeps the sentence true.
        name += f" ({', '.join(feature.feature.partition('/')[2] for feature in silent)})"
    return f"{name} is accepted but NOT ENFORCED (proved by {_named(proof)})"


def _named(ids: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(ids[:limit])
    return f"{shown} and {len(ids) - limit} more" if len(ids) > limit else shown


_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.NOT_ENFORCED: "not enforced",
    Outcome.NOT_SUPPORTED: "not supported",
    Outcome.KNOWN_DEVIATION: "known deviation",
    Outcome.FLAKY: "flaky",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.SKIPPED: "skipped",
    Outcome.ERROR: "error",
}


def _tally(ids: Mapping[Outcome, Sequence[str]]) -> str:
    return ", ".join(f"{len(ids[outcome])} {word}" for outcome, word in _WORDS.items() if outcome in ids)


def _counts(checks: Iterable[CheckRecord]) -> dict[str, int]:
    found = Counter(check.outcome for check in checks)
    return {str(outcome): found[outcome] for outcome in Outcome if found[outcome]}
