# SPDX-License-Identifier: Apache-2.0
"""What a new cluster holds before anybody asks for anything: namespaces, roles, the API's own Service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.control.crds import metallb_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.writes import Writes

_RBAC = "rbac.authorization.k8s.io/v1"
_READ = ["get", "list", "watch"]
_PATHS = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/openapi",
    "/openapi/*",
    "/healthz",
    "/livez",
    "/readyz",
    "/version",
    "/version/",
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
API_ADDRESSES = {"IPv4": "172.30.0.1", "IPv6": "fd00:172:30::1"}
_API_CLUSTER_IPS = {"IPv4": "10.96.0.1", "IPv6": "fd00:10:96::1"}
API_PORT = 6443


def bootstrap(writes: Writes, *, families: tuple[str, ...] = ("IPv4",), api_port: int = API_PORT) -> None:
    """Create the objects of a new cluster. ``families`` are the cluster's, the preferred one first."""
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        writes.create_object(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, trusted=True
        )
    for obj in (*_roles(), *_api_service(families[0], api_port), *metallb_definitions()):
        writes.create_object(obj, trusted=True)


def _roles() -> Iterator[Obj]:
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    reviews = [
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": ["create"],
        },
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ]
    # What cluster components in kube-system (the DNS server above all) follow.
    network = [
        {
            "apiGroups": [""],
            "resources": ["services", "endpoints", "pods", "namespaces", "nodes"],
            "verbs": _READ,
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": _READ},
    ]
    yield from _granted("cluster-admin", everything, "system:masters")
    discovery = [{"nonResourceURLs": _PATHS, "verbs": ["get", "head"]}]
    yield from _granted("system:discovery", discovery, "system:authenticated")
    yield from _granted("system:basic-user", reviews, "system:authenticated")
    public = [{"nonResourceURLs": _PUBLIC, "verbs": ["get", "head"]}]
    yield from _granted("system:public-info-viewer", public, "system:authenticated", "system:unauthenticated")
    yield from _granted("lab:network-reader", network, "system:serviceaccounts:kube-system")


def _granted(name: str, rules: list[Any], *groups: str) -> Iterator[Obj]:
    yield {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    yield {
        "apiVersion": _RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group} for group in groups
        ],
    }


def _api_service(family: str, port: int) -> Iterator[Obj]:
    metadata: Obj = {"name": "kubernetes", "namespace": "default"}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata, "labels": labels},
        "spec": {
            "clusterIP": _API_CLUSTER_IPS[family],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    yield {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {**metadata, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [
            {
                "addresses": [{"ip": API_ADDRESSES[family]}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [API_ADDRESSES[family]], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
