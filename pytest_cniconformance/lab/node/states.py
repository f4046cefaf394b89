# SPDX-License-Identifier: Apache-2.0
"""The ``state`` part of a container's status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import now

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj


def waiting(reason: str, message: str = "") -> Obj:
    """Say that it does not run (yet, or again)."""
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def running() -> Obj:
    """Say that it runs since now."""
    return {"running": {"startedAt": now()}}


def terminated(code: int, started: str, container_id: str, *, reason: str = "", message: str = "") -> Obj:
    """Say that it ended just now with an exit code (128 + n for signal n)."""
    state: Obj = {
        "exitCode": code,
        "reason": reason or ("Completed" if code == 0 else "Error"),
        "startedAt": started,
        "finishedAt": now(),
        "containerID": container_id,
    }
    if message:
        state["message"] = message
    return {"terminated": state}
