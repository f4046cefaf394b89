# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as the API sends them: plain JSON dictionaries, with types for the parts read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

Obj = dict[str, Any]
"""One Kubernetes object, raw. ``apiVersion``, ``kind`` and ``metadata`` are always there."""

Selector = str | Mapping[str, str] | None
"""A label or field selector: ``"a=b,c!=d"`` or ``{"a": "b"}``."""


class ObjectMeta(TypedDict, total=False):
    """The parts of ``metadata`` that this package reads."""

    name: str
    namespace: str
    generateName: str
    labels: dict[str, str]
    annotations: dict[str, str]
    resourceVersion: str
    uid: str
    creationTimestamp: str
    deletionTimestamp: str
    finalizers: list[str]


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind lives in the API: ``networkpolicies`` of ``networking.k8s.io/v1``, namespaced."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def full_name(self) -> str:
        """``networkpolicies.networking.k8s.io``, as RBAC and kubectl name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the URL path of the collection, of one object, or of its subresource."""
        parts = [api_path(self.api_version)]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


def api_path(api_version: str) -> str:
    """Return ``/api/v1`` or ``/apis/<group>/<version>``."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def selector(value: Selector) -> str | None:
    """Return a selector as the API's query string wants it."""
    if value is None or isinstance(value, str):
        return value or None
    return ",".join(f"{key}={val}" for key, val in value.items()) or None


def meta(obj: Obj) -> ObjectMeta:
    """Return ``metadata``, empty where the object has none."""
    found: ObjectMeta = obj.get("metadata") or {}
    return found


def describe(kind: str, name: str | None, namespace: str | None) -> str:
    """Return ``Pod ns/name``, ``Node name`` or ``Pods in ns``."""
    if name:
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    return f"{kind}s in namespace {namespace}" if namespace else f"{kind}s"
