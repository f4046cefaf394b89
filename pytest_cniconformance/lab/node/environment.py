# SPDX-License-Identifier: Apache-2.0
"""The environment of a container: literals, references, Services, and ``$(NAME)`` in texts."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import name_of, namespace_of
from pytest_cniconformance.lab.node.context import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value; ``$$`` is a dollar sign, unknown names stay as they are."""

    def replace(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return env.get(match.group(2), match.group(0))

    return _REFERENCE.sub(replace, text)


def field_value(pod: Obj, path: str, ips: Sequence[str], host_ips: Sequence[str]) -> str:
    """Return a downward-API field of a pod. Raises ConfigError for a field that does not exist."""
    metadata, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED.fullmatch(path):
        return str((metadata.get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    simple = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
        "status.hostIP": host_ips[0],
        "status.hostIPs": ",".join(host_ips),
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(values.items()))
    raise ConfigError(f"unsupported fieldPath {path!r}")


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def config_data(store: Store, namespace: str, kind: str, name: str, *, optional: bool) -> dict[str, bytes]:
    """Return the data of a ConfigMap or Secret; empty when it is absent and ``optional``."""
    obj = store.get("configmaps" if kind == "configmap" else "secrets", namespace, name)
    if obj is None:
        if optional:
            return {}
        raise ConfigError(f'{kind} "{name}" not found')
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    data = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return data | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def container_env(
    store: Store, pod: Obj, container: Obj, ips: Sequence[str], host_ips: Sequence[str]
) -> dict[str, str]:
    """Return what the pod spec puts into the environment. Raises ConfigError for missing references."""
    namespace = namespace_of(pod)
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for kind, reference in (("configmap", "configMapRef"), ("secret", "secretRef")):
            if ref := source.get(reference):
                optional = bool(ref.get("optional"))
                data = config_data(store, namespace, kind, ref["name"], optional=optional)
                env |= {prefix + key: value.decode(errors="replace") for key, value in data.items()}
    env = service_env(store, pod) | env
    for entry in container.get("env") or []:
        value = _value(store, pod, container, entry, ips, host_ips)
        if value is not None:
            env[entry["name"]] = expand(value, env)
    return env


def _value(
    store: Store, pod: Obj, container: Obj, entry: Obj, ips: Sequence[str], host_ips: Sequence[str]
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    if field := source.get("fieldRef"):
        # A value may hold dollar signs that are no references.
        return field_value(pod, field["fieldPath"], ips, host_ips).replace("$", "$$")
    if resource := source.get("resourceFieldRef"):
        part, _, name = resource["resource"].partition(".")
        return str((container.get("resources") or {}).get(part, {}).get(name, "0"))
    for kind, reference in (("configmap", "configMapKeyRef"), ("secret", "secretKeyRef")):
        if ref := source.get(reference):
            optional = bool(ref.get("optional"))
            data = config_data(store, namespace_of(pod), kind, ref["name"], optional=optional)
            if ref["key"] in data:
                return data[ref["key"]].decode(errors="replace").replace("$", "$$")
            if optional:
                return None
            raise ConfigError(f"couldn't find key {ref['key']} in {kind} {namespace_of(pod)}/{ref['name']}")
    raise ConfigError(f"environment variable {entry['name']}: unsupported valueFrom")


def service_env(store: Store, pod: Obj) -> dict[str, str]:
    """Return the variables of the API server's Service and, unless switched off, of the namespace's Services."""
    services = []
    if pod["spec"].get("enableServiceLinks", True):
        services = store.list("services", namespace_of(pod))
    if kubernetes := store.get("services", "default", "kubernetes"):
        services = [*services, kubernetes]
    env: dict[str, str] = {}
    for service in services:
        ip = service["spec"].get("clusterIP")
        ports = service["spec"].get("ports") or []
        if not ip or ip == "None" or not ports:
            continue
        prefix = name_of(service).upper().replace("-", "_")
        env[f"{prefix}_SERVICE_HOST"] = ip
        env[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        env[f"{prefix}_PORT"] = f"{ports[0].get('protocol', 'TCP').lower()}://{ip}:{ports[0]['port']}"
        for port in ports:
            if port.get("name"):
                env[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return env
