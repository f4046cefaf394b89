# SPDX-License-Identifier: Apache-2.0
"""The scheduler: gives every pending pod a node, or says why none fits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, clone, key_of, name_of, set_condition
from pytest_cniconformance.lab.control.base import Controller
from pytest_cniconformance.lab.control.events import Recorder
from pytest_cniconformance.lab.control.fit import Cluster, misfit, spread_penalty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event, Store

NAME = "default-scheduler"


class Scheduler(Controller):
    """Binds pods to the fitting node that runs the fewest of them."""

    resources = ("pods", "nodes")

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._events = Recorder(store, NAME)

    def react(self, events: Sequence[Event]) -> None:
        """Try every pod that has no node yet."""
        pods = self.store.list("pods")
        pending = [pod for pod in pods if _is_pending(pod)]
        if not pending:
            return
        cluster = Cluster.of(self.store.list("nodes"), pods)
        for pod in pending:
            self._schedule(pod, cluster)

    def _schedule(self, pod: Obj, cluster: Cluster) -> None:
        reasons: Counter[str] = Counter()
        fitting = []
        for node in cluster.nodes:
            if reason := misfit(pod, node, cluster):
                reasons[reason] += 1
            else:
                fitting.append(node)
        if not fitting:
            self._refuse(pod, len(cluster.nodes), reasons)
            return

        def load(node: Obj) -> tuple[int, int, str]:
            return spread_penalty(pod, node, cluster), len(cluster.on(node)), name_of(node)

        self._bind(pod, name_of(min(fitting, key=load)), cluster)

    def _bind(self, pod: Obj, node: str, cluster: Cluster) -> None:
        bound = clone(pod)
        bound["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        bound["status"]["conditions"] = set_condition(bound["status"].get("conditions") or [], condition)
        stored = self.store.update("pods", bound)
        cluster.add(stored)
        text = f"Successfully assigned {key_of(pod)} to {node}"
        self._events.record(stored, "Scheduled", text)

    def _refuse(self, pod: Obj, nodes: int, reasons: Counter[str]) -> None:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        text = f"0/{nodes} nodes are available: {why}." if nodes else "no nodes available to schedule pods"
        waiting = clone(pod)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": text,
            "lastProbeTime": None,
        }
        waiting["status"]["conditions"] = set_condition(waiting["status"].get("conditions") or [], condition)
        stored = self.store.update("pods", waiting)
        if stored is not pod:
            self._events.record(stored, "FailedScheduling", text, warning=True)


def _is_pending(pod: Obj) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not pod["metadata"].get("deletionTimestamp")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", NAME) == NAME
    )
