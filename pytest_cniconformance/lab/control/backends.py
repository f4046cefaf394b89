# SPDX-License-Identifier: Apache-2.0
"""From a Service and its pods to endpoints: which pod counts, in which state, on which ports."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of

if TYPE_CHECKING:
    from collections.abc import Iterable

PortKey = tuple[tuple[str, str, int, str], ...]  # name, protocol, number, appProtocol


class Backend(NamedTuple):
    """One pod behind a Service, with the ports it resolves the Service's to."""

    pod: Obj
    ports: PortKey
    ready: bool
    serving: bool
    terminating: bool


def backends(service: Obj, pods: Iterable[Obj], faults: frozenset[str]) -> list[Backend]:
    """Return the backends of a Service among the pods of its namespace."""
    selector = service["spec"].get("selector") or {}
    publish = service["spec"].get("publishNotReadyAddresses") and "publish-not-ready-ignored" not in faults
    found = []
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in selector.items()) or not _has_address(pod):
            continue
        serving = is_ready(pod) or "endpoints-unready-included" in faults
        terminating = bool(pod["metadata"].get("deletionTimestamp"))
        ready = bool(publish) or (serving and not terminating)
        found.append(Backend(pod, _ports(service, pod), ready, serving, terminating))
    return found


def is_ready(pod: Obj) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def address_of(pod: Obj, family: str) -> str | None:
    """Return a pod's address of a family (IPv4, IPv6)."""
    status = pod.get("status", {})
    for one in status.get("podIPs") or ([{"ip": status["podIP"]}] if status.get("podIP") else []):
        if f"IPv{ipaddress.ip_address(one['ip']).version}" == family:
            return str(one["ip"])
    return None


def endpoint(backend: Backend, address: str, service: Obj, zone: str = "") -> Obj:
    """Return the EndpointSlice entry of a backend on a node of a zone, with the hints of trafficDistribution."""
    pod = backend.pod
    entry: Obj = {
        "addresses": [address],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving or backend.ready,
            "terminating": backend.terminating,
        },
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": target_reference(pod),
    }
    if hostname := own_hostname(pod, service):
        entry["hostname"] = hostname
    if zone:
        entry["zone"] = zone
        if service["spec"].get("trafficDistribution") and backend.ready:
            entry["hints"] = {"forZones": [{"name": zone}]}
    return entry


def target_reference(pod: Obj) -> Obj:
    """Return the ObjectReference of a pod in endpoints."""
    return {
        "kind": "Pod",
        "namespace": namespace_of(pod),
        "name": name_of(pod),
        "uid": pod["metadata"]["uid"],
    }


def own_hostname(pod: Obj, service: Obj) -> str:
    """Return the name under which a headless Service's DNS knows a pod."""
    spec = pod["spec"]
    return str(spec.get("hostname", "")) if spec.get("subdomain") == name_of(service) else ""


def _has_address(pod: Obj) -> bool:
    status = pod.get("status", {})
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def _ports(service: Obj, pod: Obj) -> PortKey:
    resolved = []
    for port in service["spec"].get("ports") or ():
        number = _target(port.get("targetPort", port["port"]), port["protocol"], pod)
        if number is not None:
            resolved.append((port.get("name", ""), port["protocol"], number, port.get("appProtocol", "")))
    return tuple(resolved)


def _target(target: int | str, protocol: str, pod: Obj) -> int | None:
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None
