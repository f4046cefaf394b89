# SPDX-License-Identifier: Apache-2.0
"""The Table form of objects: the columns that ``kubectl get`` prints."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.objects import Obj, name_of
from pytest_cniconformance.lab.api.responses import as_served
from pytest_cniconformance.lab.api.table_cells import pod_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_cniconformance.lab.api.kinds import Resource

Column = tuple[str, str, int, "Callable[[Obj], Any]"]  # name, type, priority (1: only with -o wide), cell


def table(resource: Resource, objects: Iterable[Obj], version: str, *, include: str = "Metadata") -> Obj:
    """Return a Table of objects. ``include`` is the ``includeObject`` parameter."""
    columns = _columns(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {
                "name": name,
                "type": kind,
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": priority,
            }
            for name, kind, priority, _ in columns
        ],
        "rows": [
            {"cells": [cell(obj) for *_, cell in columns], "object": _row_object(obj, resource, include)}
            for obj in objects
        ],
    }


def _row_object(obj: Obj, resource: Resource, include: str) -> Obj | None:
    if include == "None":
        return None
    if include == "Object":
        return as_served(obj, resource)
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _columns(resource: Resource) -> list[Column]:
    named: list[Column] = [("Name", "string", 0, name_of)]
    aged: list[Column] = [("Age", "string", 0, lambda obj: age(obj["metadata"].get("creationTimestamp")))]
    if (own := _TABLES.get(resource.key)) is not None:
        before_age = [column for column in own if column[2] == 0]
        after_age = [column for column in own if column[2] == 1]
        if resource.key == "events":
            return before_age
        return named + before_age + aged + after_age
    if resource.columns:
        custom: list[Column] = []
        for name, path in resource.columns:
            custom.append((name, "string", 0, _json_path(path)))
        return named + (custom if any(name == "Age" for name, _ in resource.columns) else custom + aged)
    if resource.custom:
        return named + aged
    created: list[Column] = [("Created At", "date", 0, lambda obj: obj["metadata"].get("creationTimestamp"))]
    return named + (created if resource.group == "rbac.authorization.k8s.io" else aged)


def age(timestamp: str | None) -> str:
    """Return the time since a timestamp as kubectl writes it: ``5s``, ``3m12s``, ``2h``, ``4d``."""
    if not timestamp:
        return "<unknown>"
    since = datetime.now(UTC) - datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    seconds = max(0, int(since.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        rest = seconds % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _json_path(path: str) -> Callable[[Obj], Any]:
    steps = [step for step in path.replace("[", ".[").split(".") if step]

    def read(obj: Obj) -> Any:
        value: Any = obj
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.startswith("["):
                index = step.strip("[]")
                value = value if index == "*" else value[int(index)] if index.isdigit() else None
            else:
                return ""
        if path == ".metadata.creationTimestamp":
            return age(value)
        if isinstance(value, dict | list):
            return str(value)
        return "" if value is None else value

    return read


def _ready(obj: Obj) -> str:
    statuses = obj.get("status", {}).get("containerStatuses") or ()
    return f"{sum(bool(one.get('ready')) for one in statuses)}/{len(obj['spec']['containers'])}"


def _restarts(obj: Obj) -> str:
    statuses = obj.get("status", {}).get("containerStatuses") or ()
    return str(sum(one.get("restartCount", 0) for one in statuses))


def _external(obj: Obj) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName"))
    ingress = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [one.get("ip") or one.get("hostname") for one in ingress]
    addresses += spec.get("externalIPs") or []
    if addresses:
        return ",".join(addresses)
    return "<pending>" if spec.get("type") == "LoadBalancer" else "<none>"


def _service_ports(obj: Obj) -> str:
    texts = []
    for port in obj["spec"].get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port['port']}{node}/{port['protocol']}")
    return ",".join(texts) or "<none>"


def _pairs(labels: Obj | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _selector(selector: Obj | None) -> str:
    selector = selector or {}
    texts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, operator = one["key"], one["operator"]
        if operator in ("In", "NotIn"):
            texts.append(f"{key} {operator.lower()} ({','.join(one.get('values') or ())})")
        else:
            texts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(texts) or "<none>"


def _node_status(obj: Obj) -> str:
    conditions = {one["type"]: one["status"] for one in obj.get("status", {}).get("conditions") or ()}
    text = "Ready" if conditions.get("Ready") == "True" else "NotReady"
    return text + (",SchedulingDisabled" if obj.get("spec", {}).get("unschedulable") else "")


def _node_roles(obj: Obj) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or "<none>"


def _node_address(kind: str) -> Callable[[Obj], str]:
    def read(obj: Obj) -> str:
        addresses = obj.get("status", {}).get("addresses") or ()
        return next((one["address"] for one in addresses if one["type"] == kind), "<none>")

    return read


def _node_info(field: str) -> Callable[[Obj], str]:
    return lambda obj: str(obj.get("status", {}).get("nodeInfo", {}).get(field, "<unknown>"))


def _endpoints(obj: Obj) -> str:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        ports: list[Obj] = subset.get("ports") or [{}]
        for port in ports:
            for address in subset.get("addresses") or ():
                ip = address["ip"]
                host = f"[{ip}]" if ipaddress.ip_address(ip).version == 6 else ip
                found.append(f"{host}:{port['port']}" if port else ip)
    if not found:
        return "<none>"
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")


def _slice_addresses(obj: Obj) -> str:
    found = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return shown or "<unset>"


def _count(*fields: str) -> Callable[[Obj], Any]:
    def read(obj: Obj) -> Any:
        value: Any = obj
        for field in fields:
            value = (value or {}).get(field)
        return value or 0

    return read


def _template(obj: Obj, field: str) -> str:
    return ",".join(str(one.get(field)) for one in obj["spec"]["template"]["spec"]["containers"])


def _text(*fields: str, empty: str = "<none>") -> Callable[[Obj], str]:
    def read(obj: Obj) -> str:
        value: Any = obj
        for field in fields:
            value = (value or {}).get(field)
        return str(value) if value not in (None, "") else empty

    return read


def _wide(obj: Obj) -> str:
    return _selector(obj["spec"].get("selector"))


_WORKLOAD_WIDE: list[Column] = [
    ("Containers", "string", 1, lambda obj: _template(obj, "name")),
    ("Images", "string", 1, lambda obj: _template(obj, "image")),
    ("Selector", "string", 1, _wide),
]

_TABLES: dict[str, list[Column]] = {
    "pods": [
        ("Ready", "string", 0, _ready),
        ("Status", "string", 0, pod_status),
        ("Restarts", "string", 0, _restarts),
        ("IP", "string", 1, _text("status", "podIP")),
        ("Node", "string", 1, _text("spec", "nodeName")),
        ("Nominated Node", "string", 1, _text("status", "nominatedNodeName")),
        ("Readiness Gates", "string", 1, lambda obj: "<none>"),
    ],
    "services": [
        ("Type", "string", 0, _text("spec", "type")),
        ("Cluster-IP", "string", 0, _text("spec", "clusterIP")),
        ("External-IP", "string", 0, _external),
        ("Port(s)", "string", 0, _service_ports),
        ("Selector", "string", 1, lambda obj: _pairs(obj["spec"].get("selector"))),
    ],
    "namespaces": [("Status", "string", 0, _text("status", "phase"))],
    "nodes": [
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        ("Version", "string", 0, _node_info("kubeletVersion")),
        ("Internal-IP", "string", 1, _node_address("InternalIP")),
        ("External-IP", "string", 1, _node_address("ExternalIP")),
        ("OS-Image", "string", 1, _node_info("osImage")),
        ("Kernel-Version", "string", 1, _node_info("kernelVersion")),
        ("Container-Runtime", "string", 1, _node_info("containerRuntimeVersion")),
    ],
    "configmaps": [
        ("Data", "string", 0, lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ()))
    ],
    "secrets": [
        ("Type", "string", 0, _text("type")),
        ("Data", "integer", 0, lambda obj: len(obj.get("data") or ())),
    ],
    "serviceaccounts": [("Secrets", "string", 0, lambda obj: len(obj.get("secrets") or ()))],
    "endpoints": [("Endpoints", "string", 0, _endpoints)],
    "events": [
        ("Last Seen", "string", 0, lambda obj: age(obj.get("lastTimestamp") or obj.get("firstTimestamp"))),
        ("Type", "string", 0, _text("type")),
        ("Reason", "string", 0, _text("reason")),
        (
            "Object",
            "string",
            0,
            lambda obj: (
                f"{obj['involvedObject'].get('kind', '').lower()}/{obj['involvedObject'].get('name')}"
            ),
        ),
        ("Message", "string", 0, _text("message")),
    ],
    "networkpolicies.networking.k8s.io": [
        ("Pod-Selector", "string", 0, lambda obj: _selector(obj["spec"].get("podSelector")))
    ],
    "endpointslices.discovery.k8s.io": [
        ("AddressType", "string", 0, _text("addressType")),
        (
            "Ports",
            "string",
            0,
            lambda obj: ",".join(str(one.get("port", "*")) for one in obj.get("ports") or ()) or "<unset>",
        ),
        ("Endpoints", "string", 0, _slice_addresses),
    ],
    "leases.coordination.k8s.io": [("Holder", "string", 0, _text("spec", "holderIdentity", empty=""))],
    "deployments.apps": [
        (
            "Ready",
            "string",
            0,
            lambda obj: f"{_count('status', 'readyReplicas')(obj)}/{obj['spec'].get('replicas', 1)}",
        ),
        ("Up-to-date", "string", 0, _count("status", "updatedReplicas")),
        ("Available", "string", 0, _count("status", "availableReplicas")),
        *_WORKLOAD_WIDE,
    ],
    "daemonsets.apps": [
        ("Desired", "string", 0, _count("status", "desiredNumberScheduled")),
        ("Current", "string", 0, _count("status", "currentNumberScheduled")),
        ("Ready", "string", 0, _count("status", "numberReady")),
        ("Up-to-date", "string", 0, _count("status", "updatedNumberScheduled")),
        ("Available", "string", 0, _count("status", "numberAvailable")),
        (
            "Node Selector",
            "string",
            0,
            lambda obj: _pairs(obj["spec"]["template"]["spec"].get("nodeSelector")),
        ),
        *_WORKLOAD_WIDE,
    ],
    "replicasets.apps": [
        ("Desired", "string", 0, _count("spec", "replicas")),
        ("Current", "string", 0, _count("status", "replicas")),
        ("Ready", "string", 0, _count("status", "readyReplicas")),
        *_WORKLOAD_WIDE,
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [],
}
