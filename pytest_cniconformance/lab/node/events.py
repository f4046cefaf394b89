# SPDX-License-Identifier: Apache-2.0
"""Kubernetes Events of a node; repeated ones are counted, not repeated."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.objects import clone, name_of, namespace_of, now

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

_serial = itertools.count(0x17E0_0000_0000_0000)


class Recorder:
    """Writes Events about pods of one node."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node

    def record(self, pod: Obj, kind: str, reason: str, message: str, *, field: str = "") -> None:
        """Write an Event of type ``kind`` (Normal, Warning), or count it if it is there already."""
        namespace = namespace_of(pod)
        if self._store.get("namespaces", None, namespace) is None:
            return
        involved: dict[str, Any] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": namespace,
            "name": name_of(pod),
            "uid": pod["metadata"]["uid"],
        }
        if field:
            involved["fieldPath"] = field
        for event in self._store.list("events", namespace):
            same = event["reason"] == reason and event.get("message") == message
            if same and event["involvedObject"] == involved:
                again = clone(event)
                again["count"] = event.get("count", 1) + 1
                again["lastTimestamp"] = now()
                self._store.update("events", again)
                return
        time = now()
        self._store.create(
            "events",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{name_of(pod)}.{next(_serial):x}", "namespace": namespace},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": kind,
                "count": 1,
                "firstTimestamp": time,
                "lastTimestamp": time,
                "eventTime": None,
                "reportingComponent": "kubelet",
                "reportingInstance": self._node,
                "source": {"component": "kubelet", "host": self._node},
            },
        )
