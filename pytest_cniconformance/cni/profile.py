# SPDX-License-Identifier: Apache-2.0
"""What a CNI says of itself, and what is known of it, as a value."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from pytest_cniconformance.cni.versions import satisfies

CAPABILITIES = ("connectivity", "networkpolicy", "dns", "services", "loadbalancer", "l7", "latency")


class Claim(StrEnum):
    """What a profile says of one capability."""

    CLAIMED = "claimed"
    NOT_ENFORCED = "accepted-not-enforced"
    """The API server accepts its objects and the CNI is known to ignore them: checked, and reported as such."""
    NOT_CLAIMED = "not-claimed"
    """Not part of the CNI: its checks do not run."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A claim with its reason (required unless claimed) and where the CNI's project says so."""

    claim: Claim
    reason: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A requirement that the CNI is known to break.

    ``requirement`` is an id or a glob (``NP-END-*``). The entry excuses a failure until the end of the day
    ``expires`` and for the CNI versions that ``versions`` names (``>=1.16,<1.21``; empty: all).
    """

    requirement: str
    reference: str
    reason: str
    expires: datetime.date
    versions: str = ""

    def concerns(self, requirement: str, version: str = "") -> bool:
        """Whether the entry is about this requirement and version; an unknown version counts as concerned."""
        return fnmatchcase(requirement, self.requirement) and satisfies(version, self.versions)

    def expired(self, today: datetime.date) -> bool:
        """Whether the entry excuses nothing any more."""
        return today > self.expires


@dataclass(frozen=True, slots=True)
class Detection:
    """Traces that give a CNI away. Every field holds shell patterns.

    ``over`` names CNIs that may run on the same nodes because this one is chained on top of them.
    """

    daemonsets: tuple[str, ...] = ()
    crds: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CniProfile:
    """One CNI. Loaded from ``profiles/NAME.toml`` by :func:`~pytest_cniconformance.cni.load_profile`."""

    name: str
    title: str
    url: str
    statements: Mapping[str, Statement]
    l7_dialect: str = ""
    """API version and kind of its policies with HTTP rules; empty if it has none."""
    traits: Mapping[str, str] = field(default_factory=dict)
    """What is expected where the API leaves the choice: ``established-connections``: kept, dropped, unknown."""
    address_annotation: str = ""
    """The annotation by which a pod asks for its addresses (a JSON list of them); empty if it cannot."""
    deviations: tuple[Deviation, ...] = ()
    detection: Detection = Detection()
    remarks: tuple[str, ...] = ()

    def claim(self, capability: str) -> Claim:
        """Return the claim on a capability; one that the profile does not know is taken as claimed."""
        statement = self.statements.get(capability)
        return statement.claim if statement else Claim.CLAIMED

    def claims(self, capability: str) -> bool:
        """Whether the CNI claims the capability, so that what contradicts it is a failure."""
        return self.claim(capability) is Claim.CLAIMED

    def absent(self, capability: str) -> str:
        """Return why the capability is no part of the CNI; empty if its checks should run."""
        statement = self.statements.get(capability)
        return statement.reason if statement and statement.claim is Claim.NOT_CLAIMED else ""

    def claim_table(self) -> dict[str, str]:
        """Return the claims by capability in the words of the report."""
        words = {Claim.NOT_ENFORCED: "not-enforced"}
        return {c: words.get(self.claim(c), str(self.claim(c))) for c in CAPABILITIES}

    def deviation(self, requirement: str, today: datetime.date, version: str = "") -> Deviation | None:
        """Return the entry that excuses a failure of this requirement today, None without one."""
        found = (d for d in self.deviations if d.concerns(requirement, version))
        return next((d for d in found if not d.expired(today)), None)

    def expired(self, today: datetime.date) -> tuple[Deviation, ...]:
        """Return the entries that excuse nothing any more: to be renewed with evidence, or removed."""
        return tuple(d for d in self.deviations if d.expired(today))

    @property
    def notes(self) -> tuple[str, ...]:
        """What every report on this CNI should say: remarks, and known deviations that have expired."""
        return self.remarks + tuple(
            f"the known deviation of {d.requirement} expired on {d.expires} and excuses nothing: {d.reference}"
            for d in self.expired(datetime.date.today())
        )

    @property
    def established_connections(self) -> str:
        """What becomes of open connections that a new policy forbids: ``kept``, ``dropped`` or ``unknown``."""
        return self.traits.get("established-connections", "unknown")

    @property
    def l7_api(self) -> tuple[str, str] | None:
        """API version and kind of the policies with HTTP rules."""
        version, _, kind = self.l7_dialect.partition(" ")
        return (version, kind) if kind else None
