# SPDX-License-Identifier: Apache-2.0
"""A requirement (what one check proves) and the outcomes that a check can have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How binding a requirement is, in the words of its source (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    TRAIT = "TRAIT"
    """The API leaves it open: measured and reported, never failed."""


class Outcome(StrEnum):
    """What became of one check. Only ``failed`` and ``error`` fail the run (see ``--cni-require``)."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_ENFORCED = "not-enforced"
    NOT_SUPPORTED = "not-supported"
    KNOWN_DEVIATION = "known-deviation"
    FLAKY = "flaky"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: a stable id, its level, the feature that it belongs to and where it is written.

    ``feature`` is a path like ``networkpolicy/peers``; its first part is the capability that profiles claim
    (``connectivity``, ``networkpolicy``, ``dns``, ``services``, ``loadbalancer``, ``l7``, ``latency``).
    """

    id: str
    level: Level
    feature: str
    source: str
    title: str = ""

    @property
    def capability(self) -> str:
        """The first part of the feature path: what a CNI profile claims or does not."""
        return self.feature.partition("/")[0]
