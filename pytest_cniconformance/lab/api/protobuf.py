# SPDX-License-Identifier: Apache-2.0
"""Reading the protobuf bodies that kubectl 1.32 and newer send from ``create`` and ``auth can-i``.

Only the kinds of those commands are known, by the field numbers of the published ``generated.proto`` files; all
answers are JSON, which these clients accept as well.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.objects import Obj

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# What a field holds: str, int, bool, bytes (base64 in JSON), target (IntOrString), or the name of a message.
# "[]" before it makes a list, "{}" a map from strings.
Fields = dict[int, tuple[str, str]]

_META: Fields = {
    1: ("name", "str"),
    2: ("generateName", "str"),
    3: ("namespace", "str"),
    11: ("labels", "{}str"),
    12: ("annotations", "{}str"),
    14: ("finalizers", "[]str"),
}
_SPECIFIED: Fields = {1: ("metadata", "ObjectMeta")}
_RULES: Fields = {1: ("metadata", "ObjectMeta"), 2: ("rules", "[]PolicyRule")}
_BOUND: Fields = {1: ("metadata", "ObjectMeta"), 2: ("subjects", "[]Subject"), 3: ("roleRef", "RoleRef")}

_MESSAGES: dict[str, Fields] = {
    "ObjectMeta": _META,
    "Namespace": _SPECIFIED,
    "SelfSubjectReview": _SPECIFIED,
    "ConfigMap": _SPECIFIED | {2: ("data", "{}str"), 3: ("binaryData", "{}bytes"), 4: ("immutable", "bool")},
    "Secret": _SPECIFIED
    | {
        2: ("data", "{}bytes"),
        3: ("type", "str"),
        4: ("stringData", "{}str"),
        5: ("immutable", "bool"),
    },
    "ServiceAccount": _SPECIFIED | {4: ("automountServiceAccountToken", "bool")},
    "Service": _SPECIFIED | {2: ("spec", "ServiceSpec")},
    "ServiceSpec": {
        1: ("ports", "[]ServicePort"),
        2: ("selector", "{}str"),
        3: ("clusterIP", "str"),
        4: ("type", "str"),
        5: ("externalIPs", "[]str"),
        7: ("sessionAffinity", "str"),
        8: ("loadBalancerIP", "str"),
        9: ("loadBalancerSourceRanges", "[]str"),
        10: ("externalName", "str"),
        11: ("externalTrafficPolicy", "str"),
        13: ("publishNotReadyAddresses", "bool"),
        17: ("ipFamilyPolicy", "str"),
        18: ("clusterIPs", "[]str"),
        19: ("ipFamilies", "[]str"),
        20: ("allocateLoadBalancerNodePorts", "bool"),
        21: ("loadBalancerClass", "str"),
        22: ("internalTrafficPolicy", "str"),
        23: ("trafficDistribution", "str"),
    },
    "ServicePort": {
        1: ("name", "str"),
        2: ("protocol", "str"),
        3: ("port", "int"),
        4: ("targetPort", "target"),
        5: ("nodePort", "int"),
        6: ("appProtocol", "str"),
    },
    "TokenRequest": _SPECIFIED | {2: ("spec", "TokenRequestSpec")},
    "TokenRequestSpec": {
        1: ("audiences", "[]str"),
        3: ("boundObjectRef", "BoundObjectReference"),
        4: ("expirationSeconds", "int"),
    },
    "BoundObjectReference": {
        1: ("kind", "str"),
        2: ("apiVersion", "str"),
        3: ("name", "str"),
        4: ("uid", "str"),
    },
    "SelfSubjectAccessReview": _SPECIFIED | {2: ("spec", "AccessSpec")},
    "AccessSpec": {
        1: ("resourceAttributes", "ResourceAttributes"),
        2: ("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: ("namespace", "str"),
        2: ("verb", "str"),
        3: ("group", "str"),
        4: ("version", "str"),
        5: ("resource", "str"),
        6: ("subresource", "str"),
        7: ("name", "str"),
    },
    "NonResourceAttributes": {1: ("path", "str"), 2: ("verb", "str")},
    "SelfSubjectRulesReview": _SPECIFIED | {2: ("spec", "RulesSpec")},
    "RulesSpec": {1: ("namespace", "str")},
    "Role": _RULES,
    "ClusterRole": _RULES,
    "RoleBinding": _BOUND,
    "ClusterRoleBinding": _BOUND,
    "PolicyRule": {
        1: ("verbs", "[]str"),
        2: ("apiGroups", "[]str"),
        3: ("resources", "[]str"),
        4: ("resourceNames", "[]str"),
        5: ("nonResourceURLs", "[]str"),
    },
    "RoleRef": {1: ("apiGroup", "str"), 2: ("kind", "str"), 3: ("name", "str")},
    "Subject": {1: ("kind", "str"), 2: ("apiGroup", "str"), 3: ("name", "str"), 4: ("namespace", "str")},
}


def decode_body(body: bytes) -> Obj:
    """Return the object of a protobuf body; raises 415 for a kind that is not known here, 400 for nonsense."""
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        types = dict(_fields(envelope[1]))
        version, kind = types[1].decode(), types[2].decode()
        if kind not in _MESSAGES:
            text = (
                f"the body of the request was in an unknown format (protobuf {kind}) - accepted media types include: "
                "application/json"
            )
            raise errors.ApiError(415, "UnsupportedMediaType", text)
        return {"apiVersion": version, "kind": kind, **_message(envelope.get(2, b""), kind)}
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as failure:
        raise errors.bad_request(f"error decoding protobuf: {failure!r}") from None


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message: number, and an int or the bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            yield number, data[at : at + length]
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(data: bytes, name: str) -> Obj:
    found: Obj = {}
    for number, raw in _fields(data):
        if (known := _MESSAGES[name].get(number)) is None:
            continue
        field, kind = known
        if kind.startswith("[]"):
            found.setdefault(field, []).append(_value(raw, kind[2:]))
        elif kind.startswith("{}"):
            entry = dict(_fields(raw))
            found.setdefault(field, {})[entry.get(1, b"").decode()] = _value(entry.get(2, b""), kind[2:])
        elif (value := _value(raw, kind)) not in ("", 0, {}) or kind == "bool":
            found[field] = value  # Go writes empty fields too: they stand for absent ones
    return found


def _value(raw: Any, kind: str) -> Any:
    if kind == "str":
        return raw.decode()
    if kind == "int":
        return raw
    if kind == "bool":
        return bool(raw)
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind == "target":
        parts = dict(_fields(raw))
        return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    return _message(raw, kind)
