# SPDX-License-Identifier: Apache-2.0
"""The defaults of a Pod's spec, and what the ServiceAccount admission adds to a Pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.objects import Obj

ACCESS_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def default_pod_spec(spec: Obj) -> None:
    """Fill in the defaults of a PodSpec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in containers_of(spec):
        _container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in _dicts(spec.get("volumes")):
        _volume(volume)
    for constraint in _dicts(spec.get("topologySpreadConstraints")):
        constraint.setdefault("nodeAffinityPolicy", "Honor")
        constraint.setdefault("nodeTaintsPolicy", "Ignore")


def containers_of(spec: Obj) -> Iterator[Obj]:
    """Yield the init containers and the containers of a PodSpec."""
    yield from _dicts(spec.get("initContainers"))
    yield from _dicts(spec.get("containers"))


def _container(container: Obj, *, host_network: bool) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if isinstance(limits := resources.get("limits"), dict):
        requests = resources.setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)
    for port in _dicts(container.get("ports")):
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(probe := container.get(name), dict):
            _probe(probe)
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _http_get(handler)
    for variable in _dicts(container.get("env")):
        if isinstance(reference := (variable.get("valueFrom") or {}).get("fieldRef"), dict):
            reference.setdefault("apiVersion", "v1")


def _probe(probe: Obj) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, value)
    _http_get(probe)
    if isinstance(grpc := probe.get("grpc"), dict):
        grpc.setdefault("service", "")


def _http_get(handler: Obj) -> None:
    if isinstance(http := handler.get("httpGet"), dict):
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")


def _volume(volume: Obj) -> None:
    for kind in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(value := volume.get(kind), dict):
            value.setdefault("defaultMode", 420)
    if isinstance(path := volume.get("hostPath"), dict):
        path.setdefault("type", "")
    if isinstance(projected := volume.get("projected"), dict):
        for source in _dicts(projected.get("sources")):
            if isinstance(token := source.get("serviceAccountToken"), dict):
                token.setdefault("expirationSeconds", 3600)
            _field_refs((source.get("downwardAPI") or {}).get("items"))
    _field_refs((volume.get("downwardAPI") or {}).get("items"))
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}


def _field_refs(items: Any) -> None:
    for item in _dicts(items):
        if isinstance(reference := item.get("fieldRef"), dict):
            reference.setdefault("apiVersion", "v1")


def admit_pod_spec(spec: Obj, suffix: str, *, automount: bool) -> None:
    """Add what admission plugins add to a new Pod: its ServiceAccount's volume, tolerations, priority."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for key in _UNREACHABLE:
        if not any(
            one.get("key") in (key, None) and one.get("effect") in ("NoExecute", None) for one in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            )
    if not spec.get("automountServiceAccountToken", automount):
        return
    name = f"kube-api-access-{suffix}"
    used = False
    for container in containers_of(spec):
        mounts = container.setdefault("volumeMounts", [])
        if all(mount.get("mountPath") != ACCESS_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": ACCESS_PATH})
            used = True
    if used:
        spec.setdefault("volumes", []).append({"name": name, "projected": _access_volume()})


def _access_volume() -> Obj:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }


def qos_class(spec: Obj) -> str:
    """Return Guaranteed, Burstable or BestEffort."""
    resources = [container.get("resources") or {} for container in containers_of(spec)]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    for one in resources:
        limits, requests = one.get("limits") or {}, one.get("requests") or {}
        if not {"cpu", "memory"} <= set(limits) or any(requests.get(name) != limits[name] for name in limits):
            return "Burstable"
    return "Guaranteed"


def _dicts(value: Any) -> list[Obj]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
