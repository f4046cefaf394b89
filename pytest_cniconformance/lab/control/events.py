# SPDX-License-Identifier: Apache-2.0
"""Recording Events about objects, repeats counted on one Event as the real recorder does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of, now

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.store import Store


def record_event(
    store: Store,
    involved: Obj,
    reason: str,
    message: str,
    *,
    component: str,
    warning: bool = False,
    host: str = "",
) -> None:
    """Record that something happened to an object; does nothing in a namespace that is going away."""
    namespace = namespace_of(involved) or "default"
    home = store.get("namespaces", None, namespace)
    if home is None or home["metadata"].get("deletionTimestamp"):
        return
    uid = involved["metadata"].get("uid", "")
    for event in store.list("events", namespace):
        same = event["involvedObject"].get("uid") == uid and event["reason"] == reason
        if same and event["message"] == message:
            store.update("events", {**event, "count": event["count"] + 1, "lastTimestamp": now()})
            return
    reference = {
        "apiVersion": involved["apiVersion"],
        "kind": involved["kind"],
        "name": name_of(involved),
        "uid": uid,
        "resourceVersion": involved["metadata"].get("resourceVersion", ""),
    }
    if namespace_of(involved):
        reference["namespace"] = namespace
    source = {"component": component} | ({"host": host} if host else {})
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": f"{name_of(involved)}.{secrets.token_hex(8)}"},
        "involvedObject": reference,
        "reason": reason,
        "message": message,
        "source": source,
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 1,
        "type": "Warning" if warning else "Normal",
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": host,
    }
    store.create("events", event)
