# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors of list and watch requests, and LabelSelector objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_cniconformance.lab.api.objects import Obj

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)$")
_EXISTS = re.compile(r"^(?P<not>!?)\s*(?P<key>[^\s!=,()]+)$")
_COMMA = re.compile(r",(?![^(]*\))")  # a comma that is not inside in (...)

# Fields that can be selected on besides metadata.name and metadata.namespace, by resource.
FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
}


def parse_labels(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Return the predicate of a ``labelSelector`` parameter; raises 400."""
    checks = [_label_check(part.strip(), text) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(check(labels) for check in checks)


def _label_check(part: str, text: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(part):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(part):
        key = found["key"]
        if found["not"]:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise errors.bad_request(
        f"unable to parse requirement: found '{part}', expected: in, notin, =, ==, !=, ',' or end of string"
        f" (labelSelector {text!r})"
    )


def parse_fields(text: str, resource: str, *, custom: bool = False) -> Callable[[Obj], bool]:
    """Return the predicate of a ``fieldSelector`` parameter; raises 400 for a field it cannot be used on."""
    known = ("metadata.name", "metadata.namespace", *(() if custom else FIELDS.get(resource, ())))
    checks: list[tuple[list[str], str, bool]] = []
    for part in text.split(","):
        if not part.strip():
            continue
        negative = "!=" in part
        path, mark, value = part.replace("==", "=").partition("!=" if negative else "=")
        if not mark:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if path.strip() not in known:
            raise errors.bad_request(f"field label not supported: {path.strip()}")
        checks.append((path.strip().split("."), value.strip(), negative))
    return lambda obj: all((field_value(obj, path) == value) != negative for path, value, negative in checks)


def field_value(obj: Obj, path: list[str]) -> str:
    """Return the text of a field, empty when it is absent."""
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def matches(selector: Obj | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector object selects these labels; an absent one selects nothing, an empty one all."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(matches_expression(one, labels) for one in selector.get("matchExpressions") or ())


def matches_expression(expression: Obj, labels: Mapping[str, str]) -> bool:
    """Whether one requirement (of a LabelSelector or a NodeSelector) holds."""
    key, values = expression["key"], expression.get("values") or []
    operator = expression["operator"]
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator in ("Gt", "Lt") and key in labels:
        try:
            left, right = int(labels[key]), int(values[0])
        except ValueError:
            return False
        return left > right if operator == "Gt" else left < right
    return False
