# SPDX-License-Identifier: Apache-2.0
"""The status of a pod, from the states of its containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import set_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.container import Container


def container_status(container: Container) -> Obj:
    """Return one entry of ``containerStatuses``."""
    image = container.spec.get("image", "")
    status: Obj = {
        "name": container.name,
        "state": container.state,
        "lastState": container.last_state,
        "ready": container.ready or (container.kind == "init" and _exit_code(container) == 0),
        "restartCount": container.restarts,
        "image": image,
        "imageID": "lab://ignored",
        "started": container.started,
    }
    if container.container_id:
        status["containerID"] = container.container_id
    return status


def _exit_code(container: Container) -> int | None:
    ended = container.state.get("terminated")
    return None if ended is None else int(ended["exitCode"])


def phase_of(containers: Sequence[Container], policy: str, *, initialized: bool) -> str:
    """Return the pod's phase."""
    init_failed = any(
        container.kind == "init" and policy == "Never" and _exit_code(container) not in (None, 0)
        for container in containers
    )
    if init_failed:
        return "Failed"
    main = [container for container in containers if container.kind == "main"]
    if not initialized:
        return "Pending"
    codes = [_exit_code(container) for container in main]
    if all(code is not None for code in codes):
        if policy == "Always":
            return "Running"
        if all(code == 0 for code in codes):
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    never_ran = [c for c in main if "waiting" in c.state and not c.last_state]
    return "Pending" if never_ran else "Running"


def conditions_of(
    present: list[Obj],
    containers: Sequence[Container],
    phase: str,
    *,
    initialized: bool,
    networked: bool,
    gates: Sequence[str],
) -> list[Obj]:
    """Return the pod's conditions; those of others (PodScheduled, readiness gates) are kept."""
    unready = [c.name for c in containers if c.kind != "init" and not c.ready]
    done = phase in ("Succeeded", "Failed")
    waiting_init = [c.name for c in containers if c.kind == "init" and _exit_code(c) != 0]
    conditions = set_condition(present, _condition("PodReadyToStartContainers", networked))
    conditions = set_condition(
        conditions,
        _condition(
            "Initialized",
            initialized or (done and not waiting_init),
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(waiting_init)}]",
        ),
    )
    reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    if done:
        reason, message = "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    ready = initialized and not unready and not done
    conditions = set_condition(conditions, _condition("ContainersReady", ready, reason, message))
    open_gates = [
        gate for gate in gates if not any(c["type"] == gate and c["status"] == "True" for c in present)
    ]
    if ready and open_gates:
        ready, reason = False, "ReadinessGatesNotReady"
        message = f'corresponding condition of pod readiness gate "{open_gates[0]}" does not exist.'
    conditions = set_condition(conditions, _condition("Ready", ready, reason, message))
    if not any(condition["type"] == "PodScheduled" for condition in conditions):
        conditions = set_condition(conditions, _condition("PodScheduled", True))
    return conditions


def _condition(kind: str, ok: bool, reason: str = "", message: str = "") -> Obj:
    condition: Obj = {"type": kind, "status": "True" if ok else "False", "lastProbeTime": None}
    if not ok:
        condition |= {key: value for key, value in (("reason", reason), ("message", message)) if value}
    return condition
