# SPDX-License-Identifier: Apache-2.0
"""Pod: containers, ports, volumes, policies; and what may change after creation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import clone
from pytest_cniconformance.lab.api.validation.networkpolicy import PROTOCOLS

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector

_ENUMS = {
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "dnsPolicy": ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
}
_PULL = ("Always", "IfNotPresent", "Never")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
    "negative)"
)


def validate_pod(obj: Obj, collector: Collector) -> None:
    """Check a Pod."""
    validate_pod_spec(obj.get("spec") or {}, "spec", collector)


def validate_pod_spec(spec: Obj, at: str, collector: Collector) -> None:
    """Check a PodSpec at the field path ``at``."""
    for field, allowed in _ENUMS.items():
        if (value := spec.get(field)) not in allowed:
            collector.unsupported(f"{at}.{field}", value, allowed)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        collector.invalid(
            f"{at}.terminationGracePeriodSeconds",
            spec["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        )
    volumes = _volumes(spec, at, collector)
    if not spec.get("containers"):
        collector.required(f"{at}.containers")
    names: set[str] = set()
    host_ports: set[tuple[str, str, int]] = set()
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            here = f"{at}.{group}[{index}]"
            _container(container, here, collector, volumes)
            name = container.get("name")
            if name in names:
                collector.duplicate(f"{here}.name", name)
            names.add(str(name))
            if group == "containers":
                _host_ports(
                    container, here, collector, host_ports, host_network=bool(spec.get("hostNetwork"))
                )
    if (host := spec.get("hostname")) is not None:
        collector.dns_label(f"{at}.hostname", host)
    if (subdomain := spec.get("subdomain")) is not None:
        collector.dns_label(f"{at}.subdomain", subdomain)
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        collector.required(
            f"{at}.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    collector.labels(f"{at}.nodeSelector", spec.get("nodeSelector") or {})


def _volumes(spec: Obj, at: str, collector: Collector) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        here, name = f"{at}.volumes[{index}]", volume.get("name", "")
        if not name:
            collector.required(f"{here}.name")
        else:
            collector.dns_label(f"{here}.name", name)
        if name in names:
            collector.duplicate(f"{here}.name", name)
        names.add(name)
        sources = sorted(set(volume) - {"name"})
        for extra in sources[1:]:
            collector.forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
        if "configMap" in volume and not volume["configMap"].get("name"):
            collector.required(f"{here}.configMap.name")
    return names


def _container(container: Obj, at: str, collector: Collector, volumes: set[str]) -> None:
    if not container.get("name"):
        collector.required(f"{at}.name")
    else:
        collector.dns_label(f"{at}.name", container["name"])
    if not container.get("image"):
        collector.required(f"{at}.image")
    if (pull := container.get("imagePullPolicy")) not in _PULL:
        collector.unsupported(f"{at}.imagePullPolicy", pull, _PULL)
    _ports(container, at, collector)
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            collector.required(f"{at}.env[{index}].name")
        if variable.get("value") and variable.get("valueFrom"):
            collector.invalid(
                f"{at}.env[{index}].valueFrom", "", "may not be specified when `value` is not empty"
            )
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{at}.volumeMounts[{index}]"
        if not mount.get("name"):
            collector.required(f"{here}.name")
        elif mount["name"] not in volumes:
            collector.not_found(f"{here}.name", mount["name"])
        if not mount.get("mountPath"):
            collector.required(f"{here}.mountPath")
        elif mount["mountPath"] in paths:
            collector.invalid(f"{here}.mountPath", mount["mountPath"], "must be unique")
        paths.add(mount.get("mountPath", ""))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            _probe(probe, f"{at}.{name}", collector)


def _ports(container: Obj, at: str, collector: Collector) -> None:
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        here = f"{at}.ports[{index}]"
        if (name := port.get("name")) is not None:
            collector.port_name(f"{here}.name", name)
            if name in names:
                collector.duplicate(f"{here}.name", name)
            names.add(name)
        if not port.get("containerPort"):
            collector.required(f"{here}.containerPort")
        else:
            collector.port_number(f"{here}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            collector.port_number(f"{here}.hostPort", port["hostPort"])
        if port.get("protocol") not in PROTOCOLS:
            collector.unsupported(f"{here}.protocol", port.get("protocol"), PROTOCOLS)


def _host_ports(
    container: Obj, at: str, collector: Collector, taken: set[tuple[str, str, int]], *, host_network: bool
) -> None:
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("hostPort")
        if not number:
            continue
        here = f"{at}.ports[{index}]"
        if host_network and number != port.get("containerPort"):
            collector.invalid(
                f"{here}.containerPort",
                port.get("containerPort"),
                "must match `hostPort` when `hostNetwork` is true",
            )
        key = (port.get("hostIP", ""), port.get("protocol", "TCP"), number)
        if key in taken:
            collector.duplicate(f"{here}.hostPort", f"{key[0]}/{key[1]}/{key[2]}")
        taken.add(key)


def _probe(probe: Obj, at: str, collector: Collector) -> None:
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        collector.required(at, "must specify a handler type")
    for extra in handlers[1:]:
        collector.forbidden(f"{at}.{extra}", "may not specify more than 1 handler type")
    for name in handlers[:1]:
        port = probe[name].get("port") if isinstance(probe[name], dict) else None
        if isinstance(port, int):
            collector.port_number(f"{at}.{name}.port", port)
        elif isinstance(port, str):
            collector.port_name(f"{at}.{name}.port", port)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        if probe.get(name, 0) < 0:
            collector.invalid(f"{at}.{name}", probe[name], "must be greater than or equal to 0")


def validate_pod_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check that only the few changeable fields of a Pod's spec change."""
    if not _same_spec(obj["spec"], old["spec"]):
        collector.forbidden("spec", _UPDATABLE)
        return
    kept = obj["spec"].get("tolerations") or []
    if any(one not in kept for one in old["spec"].get("tolerations") or []):
        collector.forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )


def _same_spec(new: Obj, old: Obj) -> bool:
    first, second = clone(new), clone(old)
    for spec in (first, second):
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            container["image"] = ""
        spec.pop("activeDeadlineSeconds", None)
        spec.pop("tolerations", None)
        spec.pop("ephemeralContainers", None)
    return bool(first == second)
