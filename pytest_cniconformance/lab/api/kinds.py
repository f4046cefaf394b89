# SPDX-License-Identifier: Apache-2.0
"""Which resources the API serves: the built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.objects import Obj, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
CRD_KEY = "customresourcedefinitions.apiextensions.k8s.io"
_API = "io.k8s.api"
_APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one group and version. ``key`` is its name in the store, the same for all versions."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    definition: str = ""  # name in the bundled schemas; empty for a custom resource
    schema: Obj | None = field(default=None, compare=False)  # a custom resource's openAPIV3Schema
    columns: tuple[tuple[str, str], ...] = ()  # additionalPrinterColumns: (name, jsonPath)
    singular: str = ""

    @property
    def key(self) -> str:
        """``pods``, ``networkpolicies.networking.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_kind(self) -> str:
        """``Pod``, ``NetworkPolicy.networking.k8s.io``: how error messages name the kind."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made this resource."""
        return not self.definition

    def has_status(self) -> bool:
        """Whether ``status`` is written through its own subresource only."""
        return "status" in self.subresources


def _builtin() -> Iterable[Resource]:
    def core(kind: str, plural: str, **more: Any) -> Resource:
        return Resource("", "v1", kind, plural, definition=f"{_API}.core.v1.{kind}", **more)

    def of(group: str, kind: str, plural: str, **more: Any) -> Resource:
        definition = f"{_API}.{group.partition('.')[0]}.v1.{kind}"
        return Resource(group, "v1", kind, plural, definition=definition, **more)

    yield core(
        "Namespace", "namespaces", namespaced=False, short=("ns",), subresources=("finalize", "status")
    )
    yield core(
        "Pod",
        "pods",
        short=("po",),
        categories=("all",),
        subresources=("status", "exec", "log", "eviction", "binding", "ephemeralcontainers"),
    )
    yield core("Service", "services", short=("svc",), categories=("all",), subresources=("status",))
    yield core("Endpoints", "endpoints", short=("ep",))
    yield core("ConfigMap", "configmaps", short=("cm",))
    yield core("Secret", "secrets")
    yield core("ServiceAccount", "serviceaccounts", short=("sa",), subresources=("token",))
    yield core("Node", "nodes", namespaced=False, short=("no",), subresources=("status",))
    yield core("Event", "events", short=("ev",))

    apps: dict[str, Any] = {"categories": ("all",), "subresources": ("status",)}
    yield of("apps", "DaemonSet", "daemonsets", short=("ds",), **apps)
    yield of("apps", "Deployment", "deployments", short=("deploy",), **apps)
    yield of("apps", "ReplicaSet", "replicasets", short=("rs",), **apps)
    yield of("apps", "StatefulSet", "statefulsets", short=("sts",), **apps)

    yield of("networking.k8s.io", "NetworkPolicy", "networkpolicies", short=("netpol",))
    yield of("networking.k8s.io", "Ingress", "ingresses", short=("ing",), subresources=("status",))
    yield of("networking.k8s.io", "IngressClass", "ingressclasses", namespaced=False)
    yield of("discovery.k8s.io", "EndpointSlice", "endpointslices")
    yield of("coordination.k8s.io", "Lease", "leases")

    rbac = "rbac.authorization.k8s.io"
    yield of(rbac, "Role", "roles")
    yield of(rbac, "RoleBinding", "rolebindings")
    yield of(rbac, "ClusterRole", "clusterroles", namespaced=False)
    yield of(rbac, "ClusterRoleBinding", "clusterrolebindings", namespaced=False)

    review: dict[str, Any] = {"namespaced": False, "verbs": CREATE_ONLY}
    authorization, authentication = "authorization.k8s.io", "authentication.k8s.io"
    yield of(authorization, "SelfSubjectAccessReview", "selfsubjectaccessreviews", **review)
    yield of(authorization, "SelfSubjectRulesReview", "selfsubjectrulesreviews", **review)
    yield of(authorization, "SubjectAccessReview", "subjectaccessreviews", **review)
    yield of(authentication, "SelfSubjectReview", "selfsubjectreviews", **review)
    yield of(authentication, "TokenReview", "tokenreviews", **review)

    yield Resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        namespaced=False,
        short=("crd", "crds"),
        categories=("api-extensions",),
        subresources=("status",),
        definition=f"{_APIEXTENSIONS}.v1.CustomResourceDefinition",
    )


class Kinds:
    """The table of served resources. Custom ones come and go with their CustomResourceDefinition."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_key: dict[str, Resource] = {}
        self.generation = 0  # grows with every change; for caches of discovery documents
        for resource in _builtin():
            self._add(resource)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource of a request path."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource that serves a kind."""
        return self._by_kind.get((api_version, kind))

    def by_key(self, key: str) -> Resource | None:
        """Return the storage version's resource for a store key."""
        return self._by_key.get(key)

    def all(self) -> list[Resource]:
        """Return every served resource, in the order of registration."""
        return list(self._by_path.values())

    def groups(self) -> dict[str, list[str]]:
        """Return the versions of each named group, the preferred one first."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            if group and version not in found.setdefault(group, []):
                found[group].append(version)
        return found

    def register(self, crd: Obj) -> None:
        """Serve the versions of a CustomResourceDefinition (replacing what it served before)."""
        self.unregister(crd)
        spec = crd["spec"]
        for version in sorted(spec["versions"], key=lambda one: (not one.get("storage"), one["name"])):
            if version.get("served"):
                self._add(_custom(spec, version))

    def unregister(self, crd: Obj) -> None:
        """Stop serving the versions of a CustomResourceDefinition."""
        key = name_of(crd)
        for path in [path for path, resource in self._by_path.items() if resource.key == key]:
            gone = self._by_path.pop(path)
            self._by_kind.pop((gone.api_version, gone.kind), None)
            self._by_key.pop(key, None)
        self.generation += 1

    def _add(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        self._by_key.setdefault(resource.key, resource)
        self.generation += 1


def _custom(spec: Obj, version: Obj) -> Resource:
    names = spec["names"]
    columns = version.get("additionalPrinterColumns", [])
    return Resource(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        short=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        subresources=tuple(sub for sub in ("status",) if sub in version.get("subresources", {})),
        schema=version.get("schema", {}).get("openAPIV3Schema", {}),
        columns=tuple((c["name"], c["jsonPath"]) for c in columns if not c.get("priority")),
        singular=names.get("singular", ""),
    )
