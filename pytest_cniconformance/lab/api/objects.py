# SPDX-License-Identifier: Apache-2.0
"""Small helpers on Kubernetes objects as plain JSON dicts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

Obj = dict[str, Any]

SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)
"""Metadata that only the server sets."""


class Stored(dict[str, Any]):
    """An object as the store holds it: never changed, so its JSON is encoded once per version."""

    __slots__ = ("_encoded",)

    def encoded(self) -> bytes:
        """Return the object's compact JSON."""
        try:
            return self._encoded
        except AttributeError:
            self._encoded: bytes = encode(self)
            return self._encoded

    def __deepcopy__(self, memo: dict[int, Any]) -> Obj:
        copied: Obj = clone(self)
        return copied


def encode(value: Any) -> bytes:
    """Return compact JSON, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def encoded(obj: Obj) -> bytes:
    """Return the JSON of any object, from the cache where it is a stored one."""
    return obj.encoded() if isinstance(obj, Stored) else encode(obj)


def clone(value: Any) -> Any:
    """Return a deep copy of JSON data (several times faster than ``copy.deepcopy``)."""
    if isinstance(value, dict):
        return {key: clone(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) if isinstance(item, dict | list) else item for item in value]
    return value


def name_of(obj: Obj) -> str:
    """Return ``metadata.name``, or an empty string."""
    return str(obj.get("metadata", {}).get("name") or "")


def namespace_of(obj: Obj) -> str:
    """Return ``metadata.namespace``, or an empty string for a cluster-scoped object."""
    return str(obj.get("metadata", {}).get("namespace") or "")


def key_of(obj: Obj) -> str:
    """Return ``namespace/name``, or ``name`` for a cluster-scoped object."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def now(offset_seconds: float = 0) -> str:
    """Return the time as the API writes it: RFC 3339, UTC, whole seconds."""
    return (datetime.now(UTC) + timedelta(seconds=offset_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro() -> str:
    """Return the time as the API writes a ``MicroTime``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def owner_reference(obj: Obj, *, controller: bool = True) -> Obj:
    """Return the ownerReference that points to ``obj``."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": name_of(obj),
        "uid": obj["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": True,
    }


def set_condition(conditions: list[Obj], condition: Obj) -> list[Obj]:
    """Return the list with ``condition`` put in place of the one of its type.

    ``lastTransitionTime`` is set to now when the status changed, and kept otherwise.
    """
    result: list[Obj] = []
    written = dict(condition)
    for present in conditions:
        if present.get("type") != condition["type"]:
            result.append(present)
        elif present.get("status") == condition["status"]:
            written.setdefault("lastTransitionTime", present.get("lastTransitionTime", now()))
    written.setdefault("lastTransitionTime", now())
    result.append(written)
    return result
