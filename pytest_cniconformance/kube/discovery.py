# SPDX-License-Identifier: Apache-2.0
"""Which kinds the cluster serves, and under which paths."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .errors import Call, KubeError, NotFound, UnknownKind
from .objects import Resource, api_path

if TYPE_CHECKING:
    from .transport import Transport

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
# One request for all groups since Kubernetes 1.26 (v2beta1) and 1.30 (v2); older servers answer plain JSON.
_ACCEPT = f"{_AGGREGATED.format('v2')},{_AGGREGATED.format('v2beta1')},application/json"

_CORE = {
    "ConfigMap": "configmaps",
    "Endpoints": "endpoints",
    "Event": "events",
    "LimitRange": "limitranges",
    "Pod": "pods",
    "ResourceQuota": "resourcequotas",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}
_BUILTIN = [Resource("v1", kind, plural, True) for kind, plural in _CORE.items()]
_BUILTIN += [
    Resource("v1", "Namespace", "namespaces", False),
    Resource("v1", "Node", "nodes", False),
    Resource("apps/v1", "DaemonSet", "daemonsets", True),
    Resource("apps/v1", "Deployment", "deployments", True),
    Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", True),
    Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", True),
    Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False),
    Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False),
]


class Discovery:
    """Kinds and their resources, asked once and remembered. Thread-safe.

    The kinds of every cluster need no question. A kind that is not known yet is looked up in its own group,
    so that a CRD installed meanwhile is found.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._known = {(r.api_version, r.kind): r for r in _BUILTIN}
        self._served: dict[tuple[str, str], Resource] | None = None
        self._failed: set[str] = set()

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return where ``kind`` lives; raises :class:`UnknownKind` if the cluster does not serve it."""
        with self._lock:
            found = self._known.get((api_version, kind))
        if found is not None:
            return found
        listed = self._look_up(api_version)
        with self._lock:
            self._known.update(listed)
            found = self._known.get((api_version, kind))
        if found is None:
            group = api_version.rpartition("/")[0] or "core"
            raise UnknownKind(
                Call("find", f"kind {kind} of {api_version}"),
                "the cluster does not serve it",
                status=404,
                reason="NotFound",
                remedy=f"Install the CRDs of group {group}, or deselect the checks that need them",
            )
        return found

    def served(self, *, refresh: bool = False) -> set[tuple[str, str]]:
        """Return all ``(apiVersion, kind)`` that the cluster serves; ``refresh`` asks again."""
        with self._lock:
            if self._served is not None and not refresh:
                return set(self._served)
        found = {(r.api_version, r.kind): r for r in self._ask_all()}
        with self._lock:
            self._served = found
            self._known.update(found)
            return set(found)

    def has(self, api_version: str, kind: str, *, refresh: bool = False) -> bool:
        """Whether the cluster serves ``kind``; ``refresh`` asks its group again (a CRD was installed meanwhile)."""
        if api_version == "v1" and kind in (*_CORE, "Namespace", "Node"):
            return True  # there is no Kubernetes without them
        if (api_version, kind) in self.served():
            return True
        with self._lock:
            uncertain = refresh or api_version in self._failed
        return uncertain and (api_version, kind) in self._look_up(api_version)

    def _look_up(self, api_version: str) -> dict[tuple[str, str], Resource]:
        """Ask one group version; an unknown one has no kinds."""
        call = Call("get", f"API resources of {api_version}", "apiresources")
        try:
            document = self._transport.request(call, "GET", api_path(api_version)).document(call)
        except NotFound:
            return {}
        return {(r.api_version, r.kind): r for r in _plain(document, api_version)}

    def _ask_all(self) -> list[Resource]:
        resources: list[Resource] = []
        failed: set[str] = set()
        call = Call("list", "API groups", "apigroups")
        for path in ("/api", "/apis"):
            document = self._transport.request(call, "GET", path, accept=_ACCEPT).document(call)
            if document.get("kind") == "APIGroupDiscoveryList":
                resources += _aggregated(document, failed)
            else:
                resources += self._ask_each(_versions(document), failed)
        with self._lock:
            self._failed = failed
        return resources

    def _ask_each(self, versions: list[str], failed: set[str]) -> list[Resource]:
        """Ask each group version, side by side; one whose own server is down must not hide the others."""

        def ask(version: str) -> list[Resource]:
            call = Call("get", f"API resources of {version}", "apiresources")
            try:
                document = self._transport.request(call, "GET", api_path(version), retry_for=1.0).document(
                    call
                )
            except KubeError:
                failed.add(version)
                return []
            return _plain(document, version)

        with ThreadPoolExecutor(8, thread_name_prefix="cniconformance discovery") as pool:
            return [resource for found in pool.map(ask, versions) for resource in found]


def _versions(document: dict[str, Any]) -> list[str]:
    """Return the group versions of an ``APIVersions`` or ``APIGroupList`` answer."""
    groups = document.get("groups") or []
    return list(document.get("versions") or []) + [
        version["groupVersion"] for group in groups for version in group.get("versions") or []
    ]


def _plain(document: dict[str, Any], api_version: str) -> list[Resource]:
    return [
        Resource(api_version, entry["kind"], entry["name"], bool(entry.get("namespaced")))
        for entry in document.get("resources") or []
        if "/" not in entry["name"]
    ]


def _aggregated(document: dict[str, Any], failed: set[str]) -> list[Resource]:
    resources: list[Resource] = []
    for group in document.get("items") or []:
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or []:
            api_version = f"{name}/{version['version']}" if name else version["version"]
            if version.get("freshness") == "Stale":
                failed.add(api_version)  # the API server could not reach the one that serves it
            resources += [
                Resource(
                    api_version,
                    (entry.get("responseKind") or {}).get("kind") or "",
                    entry["resource"],
                    entry.get("scope") == "Namespaced",
                )
                for entry in version.get("resources") or []
            ]
    return resources
