# SPDX-License-Identifier: Apache-2.0
"""The state of an object in one line: what a person needs to know when it is not what was awaited."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import one_line
from .objects import Obj, meta

_EVENTS_SHOWN = 3


def state(obj: Obj | None) -> str:
    """Return why ``obj`` is not there yet; for pods phase, waiting reasons and failed conditions."""
    if not obj:
        return "does not exist"
    parts: list[str] = []
    if meta(obj).get("deletionTimestamp"):
        finalizers = meta(obj).get("finalizers")
        parts.append(f"being deleted{f' (finalizers {finalizers})' if finalizers else ''}")
    status = obj.get("status") or {}
    if status.get("phase"):
        parts.append(f"phase {status['phase']}")
    if status.get("reason") or status.get("message"):
        parts.append(_because(status.get("reason"), status.get("message")))
    if obj.get("kind") == "Pod":
        parts += _containers(status.get("initContainerStatuses") or [])
        parts += _containers(status.get("containerStatuses") or [])
    parts += _conditions(status.get("conditions") or [])
    if obj.get("kind") == "Service" and (obj.get("spec") or {}).get("type") == "LoadBalancer":
        ingress = (status.get("loadBalancer") or {}).get("ingress")
        parts.append(f"load balancer {ingress}" if ingress else "no load balancer address")
    return one_line("; ".join(part for part in parts if part)) or "exists"


def events_text(events: Iterable[Obj]) -> str:
    """Return the last few events of an object, warnings first, newest last."""
    ranked = sorted(events, key=lambda event: (event.get("type") == "Warning", _when(event)))
    shown = sorted(ranked[-_EVENTS_SHOWN:], key=_when)
    return "; ".join(_because(event.get("reason"), event.get("message")) for event in shown)


def _when(event: Obj) -> str:
    times = (event.get("lastTimestamp"), event.get("eventTime"), meta(event).get("creationTimestamp"))
    return next((str(time) for time in times if time), "")


def _because(reason: object, message: object) -> str:
    return one_line(": ".join(str(part) for part in (reason, message) if part), 200)


def _containers(statuses: list[Obj]) -> list[str]:
    found: list[str] = []
    for status in statuses:
        current = status.get("state") or {}
        waiting, terminated = current.get("waiting"), current.get("terminated")
        name = f"container {status.get('name')}"
        if waiting:
            found.append(f"{name} waiting: {_because(waiting.get('reason'), waiting.get('message'))}")
            last = (status.get("lastState") or {}).get("terminated")
            if last:
                found.append(f"{name} before that {_ended(last)}")
        elif terminated:
            found.append(f"{name} {_ended(terminated)}")
        elif not status.get("ready"):
            found.append(f"{name} running, not ready")
    return found


def _ended(terminated: Obj) -> str:
    why = _because(terminated.get("reason"), terminated.get("message"))
    return f"ended with exit code {terminated.get('exitCode')}{f' ({why})' if why else ''}"


def _conditions(conditions: list[Obj]) -> list[str]:
    """Return the conditions that are false and say more than that something else is."""
    return [
        f"{condition.get('type')}={condition.get('status')} "
        f"({_because(condition.get('reason'), condition.get('message'))})"
        for condition in conditions
        if condition.get("status") in ("False", "Unknown")
        and condition.get("message")
        and condition.get("reason") != "ContainersNotReady"
    ]
