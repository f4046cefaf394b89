# SPDX-License-Identifier: Apache-2.0
"""What the first packets of a new pod show: isolated at once, open for a while, or closed to what is allowed.

https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle: a pod under a policy that
was handled before is isolated before any of its containers starts, init containers included; allow rules may take
effect later. So an answer from a forbidden peer breaks the API, while silence from an allowed one is a property.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_cniconformance.measure.convergence import Run, path_times, runs_since
from pytest_cniconformance.model.convergence import ConvergenceSample

TOLERANCE_MS = 100.0
"""A lockout up to this long is not told apart from the pod's own start."""


class StartUp(StrEnum):
    """The class of a CNI's start-up."""

    CONFORMANT = "conformant"
    FAIL_OPEN = "fail-open"
    FAIL_CLOSED = "fail-closed"


@dataclass(frozen=True, slots=True)
class FirstPath:
    """The attempts between a new pod and one peer, from ``since`` on, when the pod's program ran."""

    peer: str
    allowed: bool
    since: float
    runs: tuple[Run, ...]

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return sum(run.count for run in self.runs)

    def settled(self, quiet: float) -> bool:
        """Whether the path has been as it must be for ``quiet`` seconds."""
        found = runs_since(self.runs, self.since)
        if not found or found[-1].open != self.allowed:
            return False
        return found[-1].last - found[-1].first >= quiet

    @property
    def opened(self) -> bool:
        """Whether the last attempts were answered."""
        return bool(self.runs) and self.runs[-1].open

    @property
    def leak_ms(self) -> float | None:
        """From the pod's first instant to the last answer that a forbidden peer got; None for no answer at all."""
        answered = [run.last for run in self.runs if run.open]
        return (max(answered) - self.since) * 1000 if answered else None


@dataclass(frozen=True, slots=True)
class NewPod:
    """One new pod with all its paths."""

    name: str
    paths: tuple[FirstPath, ...]

    def settled(self, quiet: float) -> bool:
        """Whether all paths have been as they must be for ``quiet`` seconds."""
        return all(path.settled(quiet) for path in self.paths)

    @property
    def leaks(self) -> list[FirstPath]:
        """The forbidden paths on which there was an answer."""
        return [path for path in self.paths if not path.allowed and path.leak_ms is not None]

    @property
    def locked_out(self) -> list[FirstPath]:
        """The allowed paths that have not opened."""
        return [path for path in self.paths if path.allowed and not path.opened]

    def leak(self) -> ConvergenceSample:
        """Return how long forbidden peers were answered."""
        return ConvergenceSample(
            wrong=round(max((path.leak_ms or 0.0 for path in self.leaks), default=0.0), 3)
        )

    def lockout(self) -> ConvergenceSample:
        """Return when allowed peers were answered; only for a pod that is not locked out."""
        found = [path_times(path.runs, path.since, True) for path in self.paths if path.allowed]
        first, last = min(t.first for t in found), max(t.last for t in found)
        return ConvergenceSample(
            first=round(first * 1000, 3),
            last=round(last * 1000, 3),
            wrong=round(last * 1000, 3),
            flap=round(max(t.flap for t in found) * 1000, 3),
            error=round(max(t.gap for t in found) * 1000, 3),
        )


def classify(pods: Sequence[NewPod]) -> StartUp:
    """Return the class that these pods show together: one leak makes the CNI fail-open."""
    if any(pod.leaks for pod in pods):
        return StartUp.FAIL_OPEN
    if any(pod.locked_out or pod.lockout().wrong > TOLERANCE_MS for pod in pods):
        return StartUp.FAIL_CLOSED
    return StartUp.CONFORMANT
