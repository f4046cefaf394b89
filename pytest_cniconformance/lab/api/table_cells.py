# SPDX-License-Identifier: Apache-2.0
"""The STATUS that ``kubectl get pods`` prints: phase, waiting and termination reasons put into one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj


def pod_status(pod: Obj) -> str:
    """Return the one word for a pod's state, as the API server's printer chooses it."""
    status = pod.get("status", {})
    text = str(status.get("reason") or status.get("phase", "Unknown"))
    statuses = status.get("containerStatuses") or []
    for one in reversed(statuses):
        state = one.get("state") or {}
        if reason := state.get("waiting", {}).get("reason"):
            text = reason
        elif terminated := state.get("terminated"):
            text = _terminated(terminated)
    if text == "Completed" and any((one.get("state") or {}).get("running") for one in statuses):
        text = (
            "Running"
            if all(one.get("ready") for one in statuses if "running" in one["state"])
            else "NotReady"
        )
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return text


def _terminated(terminated: Obj) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"
