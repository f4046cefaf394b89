# SPDX-License-Identifier: Apache-2.0
"""How long a change of policy took until packets followed it: what was seen, and the table of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pytest_cniconformance.model.measurement import Quantile, SloResult

ANY_EVENT = "any event"
"""The event of the rows that merge all others."""

NEW_POD = "new pod"
"""The event whose times begin with the first packet of a pod, not with a request."""


class Change(StrEnum):
    """What an event demands of a path."""

    DENY = "deny"
    ALLOW = "allow"
    STAYS_DENIED = "stays denied"
    STAYS_ALLOWED = "stays allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceSample:
    """One event on all paths that it concerns; milliseconds since the moment before the API request was sent.

    ``first`` is the first attempt on any path that met the new state, ``last`` the first attempt of the final
    unbroken run on the slowest path: between them packets met either state. ``wrong`` is how long packets were
    treated against the new state: forbidden ones answered (a leak), allowed ones not (a lockout). ``flap`` is
    how long a path had gone back to the old state after it had met the new one. ``error`` bounds all of them:
    clock mapping and the distance of attempts.
    """

    first: float | None = None
    last: float | None = None
    wrong: float = 0.0
    flap: float = 0.0
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The distribution of one time in milliseconds.

    ``quantiles`` holds only those that the sample supports: with fewer than ``1 / (1 - p)`` samples the
    nearest rank of p is just the maximum. ``None`` in a quantile's interval: too few samples bound that side.
    """

    count: int = 0
    quantiles: tuple[Quantile, ...] = ()
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """One row: an event, the direction of traffic, and what became of forbidden or allowed packets.

    ``dropped`` samples were thrown away because the machine was too busy to date them. ``error_ms`` is the
    worst error bound of the samples that count.
    """

    event: str
    traffic: str
    change: Change
    samples: tuple[ConvergenceSample, ...] = ()
    first: Spread = Spread()
    last: Spread = Spread()
    wrong: Spread = Spread()
    flaps: int = 0
    dropped: int = 0
    error_ms: float = 0.0
    slos: tuple[SloResult, ...] = ()

    @property
    def path(self) -> str:
        """The name by which SLO profiles speak of it."""
        return f"policy-convergence/{self.event.replace(' ', '-')}/{self.change.replace(' ', '-')}"
