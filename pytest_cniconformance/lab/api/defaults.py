# SPDX-License-Identifier: Apache-2.0
"""The defaults that the API fills in for each kind (the Pod's are in ``defaults_pod``)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.defaults_pod import default_pod_spec, qos_class
from pytest_cniconformance.lab.api.objects import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.objects import Obj

METADATA_NAME = "kubernetes.io/metadata.name"


def apply_builtin_defaults(key: str, obj: Obj) -> None:
    """Fill in the defaults of a built-in kind, in place. ``key`` names the resource."""
    if (fill := _BY_KEY.get(key)) is not None:
        fill(obj)


def _namespace(obj: Obj) -> None:
    obj["metadata"].setdefault("labels", {})[METADATA_NAME] = name_of(obj)
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _pod(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_spec(spec)
    status = obj.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos_class(spec))


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault(
            "timeoutSeconds", 10800
        )
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in _dicts(spec.get("ports")):
        port.setdefault("protocol", "TCP")
        if "port" in port and port.get("targetPort", 0) in (0, ""):
            port["targetPort"] = port["port"]
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _network_policy(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*_dicts(spec.get("ingress")), *_dicts(spec.get("egress"))):
        for port in _dicts(rule.get("ports")):
            port.setdefault("protocol", "TCP")


def _endpoints(obj: Obj) -> None:
    for subset in _dicts(obj.get("subsets")):
        for port in _dicts(subset.get("ports")):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(obj: Obj) -> None:
    obj.setdefault("endpoints", [])
    for port in _dicts(obj.get("ports")):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _secret(obj: Obj) -> None:
    obj.setdefault("type", "Opaque")
    if plain := obj.pop("stringData", None):
        data = obj.setdefault("data", {})
        for name, value in plain.items():
            data[name] = base64.b64encode(str(value).encode()).decode()


def _node(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("podCIDR"):
        spec.setdefault("podCIDRs", [spec["podCIDR"]])
    obj.setdefault("status", {})


def _event(obj: Obj) -> None:
    obj.setdefault("source", {})
    obj.setdefault("reportingComponent", obj["source"].get("component", ""))
    obj.setdefault("reportingInstance", obj["source"].get("host", ""))


def _workload(obj: Obj) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))
    kind = obj.get("kind")
    rolling: dict[str, Any]
    if kind != "ReplicaSet":
        spec.setdefault("revisionHistoryLimit", 10)
    if kind != "DaemonSet":
        spec.setdefault("replicas", 1)
    if kind == "Deployment":
        spec.setdefault("progressDeadlineSeconds", 600)
        rolling = spec.setdefault("strategy", {})
        if rolling.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling.setdefault("rollingUpdate", {}).setdefault("maxSurge", "25%")
            rolling["rollingUpdate"].setdefault("maxUnavailable", "25%")
    elif kind == "DaemonSet":
        rolling = spec.setdefault("updateStrategy", {})
        if rolling.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling.setdefault("rollingUpdate", {}).setdefault("maxSurge", 0)
            rolling["rollingUpdate"].setdefault("maxUnavailable", 1)
        obj.setdefault("status", {})
        for count in (
            "currentNumberScheduled",
            "desiredNumberScheduled",
            "numberMisscheduled",
            "numberReady",
        ):
            obj["status"].setdefault(count, 0)
    elif kind == "StatefulSet":
        spec.setdefault("podManagementPolicy", "OrderedReady")
        rolling = spec.setdefault("updateStrategy", {})
        if rolling.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    if kind in ("ReplicaSet", "StatefulSet"):
        obj.setdefault("status", {}).setdefault("replicas", 0)
    obj.setdefault("status", {})


def _binding(obj: Obj) -> None:
    if isinstance(reference := obj.get("roleRef"), dict):
        reference.setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in _dicts(obj.get("subjects")):
        if subject.get("kind") == "ServiceAccount":
            subject.setdefault("namespace", obj["metadata"].get("namespace", ""))
        else:
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _ingress(obj: Obj) -> None:
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _crd(obj: Obj) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("conversion", {}).setdefault("strategy", "None")
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")


def _dicts(value: Any) -> list[Obj]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


_BY_KEY: dict[str, Callable[[Obj], None]] = {
    "namespaces": _namespace,
    "pods": _pod,
    "services": _service,
    "endpoints": _endpoints,
    "secrets": _secret,
    "nodes": _node,
    "events": _event,
    "networkpolicies.networking.k8s.io": _network_policy,
    "ingresses.networking.k8s.io": _ingress,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "daemonsets.apps": _workload,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}
