# SPDX-License-Identifier: Apache-2.0
"""Recording Events about objects, repeats counted on one Event as the real recorder does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of, now

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.store import Store


class Recorder:
    """Records Events for one component."""

    def __init__(self, store: Store, component: str) -> None:
        self._store = store
        self._component = component
        self._known: dict[
            tuple[str, str, str], tuple[str, str]
        ] = {}  # uid, reason, message: where the Event is

    def record(self, involved: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        """Record that something happened to an object; does nothing in a namespace that is going away."""
        namespace = namespace_of(involved) or "default"
        home = self._store.get("namespaces", None, namespace)
        if home is None or home["metadata"].get("deletionTimestamp"):
            return
        key = (involved["metadata"].get("uid", ""), reason, message)
        present = self._store.get("events", *self._known.get(key, ("", "")))
        if present is not None:
            repeated = {**present, "count": present["count"] + 1, "lastTimestamp": now()}
            self._store.update("events", repeated)
            return
        event = self._event(involved, namespace, reason, message, "Warning" if warning else "Normal")
        self._known[key] = (namespace, event["metadata"]["name"])
        self._store.create("events", event)

    def has_recorded(self, involved: Obj, reason: str, message: str) -> bool:
        """Whether this was recorded about the object before and is still kept."""
        key = (involved["metadata"].get("uid", ""), reason, message)
        return self._store.get("events", *self._known.get(key, ("", ""))) is not None

    def _event(self, involved: Obj, namespace: str, reason: str, message: str, kind: str) -> Obj:
        reference = {
            "apiVersion": involved["apiVersion"],
            "kind": involved["kind"],
            "name": name_of(involved),
            "uid": involved["metadata"].get("uid", ""),
            "resourceVersion": involved["metadata"].get("resourceVersion", ""),
        }
        if namespace_of(involved):
            reference["namespace"] = namespace
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": f"{name_of(involved)}.{secrets.token_hex(8)}"},
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": "",
        }
