# SPDX-License-Identifier: Apache-2.0
"""The shape of a NetworkPolicy: field names and JSON types, which the API server checks while decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_GO_NAMES = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True)
class _Struct:
    """An object with known fields. Null stands for absent, as everywhere in the Kubernetes API."""

    go: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _List:
    item: Any


class _StringMap:
    """``map[string]string``."""


class _IntOrString:
    """``intstr.IntOrString``."""


class _Anything:
    """What is validated elsewhere."""


_SELECTOR = _Struct(
    "LabelSelector",
    {
        "matchLabels": _StringMap(),
        "matchExpressions": _List(
            _Struct("LabelSelectorRequirement", {"key": str, "operator": str, "values": _List(str)})
        ),
    },
)
_PORT = _Struct("NetworkPolicyPort", {"port": _IntOrString(), "endPort": int, "protocol": str})
_PEER = _Struct(
    "NetworkPolicyPeer",
    {
        "podSelector": _SELECTOR,
        "namespaceSelector": _SELECTOR,
        "ipBlock": _Struct("IPBlock", {"cidr": str, "except": _List(str)}),
    },
)
_SPEC = _Struct(
    "NetworkPolicySpec",
    {
        "podSelector": _SELECTOR,
        "policyTypes": _List(str),
        "ingress": _List(_Struct("NetworkPolicyIngressRule", {"from": _List(_PEER), "ports": _List(_PORT)})),
        "egress": _List(_Struct("NetworkPolicyEgressRule", {"to": _List(_PEER), "ports": _List(_PORT)})),
    },
)
# `status` existed as alpha until 1.27 and is dropped silently since; metadata is the API machinery's.
_POLICY = _Struct(
    "NetworkPolicy",
    {"apiVersion": str, "kind": str, "metadata": _Anything(), "spec": _SPEC, "status": _Anything()},
)


def misshapen(obj: Mapping[str, Any]) -> Iterator[str]:
    """Yield each field that the API server could not decode: unknown, or of the wrong JSON type."""
    yield from _check(obj, _POLICY, "", _POLICY.go)
    yield from misshapen_metadata(obj)


def misshapen_metadata(obj: Mapping[str, Any]) -> Iterator[str]:
    """Yield what could not be decoded of the metadata of an object of any kind."""
    metadata = obj.get("metadata") or {}
    for name in ("name", "namespace"):
        yield from _check(metadata.get(name), str, f"metadata.{name}", "ObjectMeta")
    for name in ("labels", "annotations"):
        yield from _check(metadata.get(name), _StringMap(), f"metadata.{name}", "ObjectMeta")


def _check(value: Any, kind: Any, path: str, struct: str) -> Iterator[str]:
    if value is None or isinstance(kind, _Anything):
        return
    if isinstance(kind, _Struct):
        if not isinstance(value, Mapping):
            yield _cannot(value, struct, path, kind.go)
            return
        for name, child in value.items():
            where = f"{path}.{name}" if path else str(name)
            if name in kind.fields:
                yield from _check(child, kind.fields[name], where, kind.go)
            else:
                yield f'strict decoding error: unknown field "{where}"'
    elif isinstance(kind, _List):
        if not isinstance(value, list | tuple):
            yield _cannot(value, struct, path, "[]" + getattr(kind.item, "go", "string"))
            return
        for i, child in enumerate(value):
            if child is None:
                # A null item decodes to the zero value, and the rule or peer is then an empty one.
                continue
            yield from _check(child, kind.item, f"{path}[{i}]", struct)
    elif isinstance(kind, _StringMap):
        if not isinstance(value, Mapping):
            yield _cannot(value, struct, path, "map[string]string")
            return
        for key, child in value.items():
            if not isinstance(key, str) or not isinstance(child, str | None):
                yield _cannot(key if not isinstance(key, str) else child, struct, f"{path}.{key}", "string")
    elif isinstance(kind, _IntOrString):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _cannot(value, struct, path, "intstr.IntOrString")
    elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield _cannot(value, struct, path, "int32" if kind is int else "string")


def _cannot(value: Any, struct: str, path: str, wanted: str) -> str:
    found = next((name for kind, name in _GO_NAMES.items() if isinstance(value, kind)), type(value).__name__)
    hint = ""
    if wanted == "string" and found in ("bool", "number"):
        hint = " (quote it: YAML reads y, n, on, off, yes, no and numbers as something else than text)"
    return f"json: cannot unmarshal {found} into Go struct field {struct}.{path} of type {wanted}{hint}"
