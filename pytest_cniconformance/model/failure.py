# SPDX-License-Identifier: Apache-2.0
"""Why a check did not pass. Each class is one outcome, so that none is mistaken for another."""

from __future__ import annotations

from typing import Any


class ConformanceFailure(AssertionError):
    """The cluster contradicted a requirement: outcome ``failed``.

    ``evidence`` holds builtins for the report: ``mismatches`` (list of ``{cell, expected, because, observed}``),
    ``matrix``, ``manifests``, ``reproduce`` (shell commands).
    """

    def __init__(self, message: str, *, evidence: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.evidence: dict[str, Any] = evidence or {}


class NotEnforced(ConformanceFailure):
    """The API accepted the object and traffic that it forbids went through.

    Outcome ``not-enforced``, or ``failed`` where the CNI's profile claims the capability.
    """


class CheckInterrupted(Exception):
    """Base of the outcomes that are no verdict on the CNI."""


class NotSupported(CheckInterrupted):
    """The profile declares that the CNI lacks this, or the API is absent: outcome ``not-supported``."""


class Inconclusive(CheckInterrupted):
    """Statistics or the environment do not allow a verdict: outcome ``inconclusive``."""


class ClusterError(CheckInterrupted):
    """The cluster, a pod, a prober or the API failed: outcome ``error``. Never evidence about the CNI."""


class UsageError(Exception):
    """Bad input of the user: one clear message and a non-zero exit, never a traceback."""
