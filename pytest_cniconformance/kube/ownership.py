# SPDX-License-Identifier: Apache-2.0
"""Whose object is it: every object of a run carries its id and an expiry, and only such objects are ever removed."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta

from .objects import Obj

LABEL_RUN = "cniconformance/run-id"
ANNOTATION_EXPIRES = "cniconformance/expires"

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def rfc3339(moment: datetime) -> str:
    """Return ``2026-01-02T03:04:05Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def own(obj: Obj, run_id: str, ttl: float) -> Obj:
    """Return a copy of ``obj`` that carries the run's id and expires in ``ttl`` seconds.

    Raises :class:`ValueError` for a run id that is no label value (63 letters, digits, ``-``, ``_``, ``.``).
    """
    if not _LABEL_VALUE.fullmatch(run_id):
        raise ValueError(f"run id {run_id!r} cannot be a label value")
    owned = copy.deepcopy(obj)
    metadata = owned.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL_RUN: run_id}
    expires = rfc3339(datetime.now(UTC) + timedelta(seconds=ttl))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION_EXPIRES: expires}
    return owned


def owned(obj: Obj) -> bool:
    """Whether a run made the object, this run or another one."""
    return LABEL_RUN in (obj["metadata"].get("labels") or {})
