# SPDX-License-Identifier: Apache-2.0
"""What the API server would say of a NetworkPolicy: the reasons of its validation, in its own words.

Source: pkg/apis/networking/validation/validation.go and apimachinery's validation of labels and ports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy import names
from pytest_cniconformance.policy.addresses import Network, parse_network
from pytest_cniconformance.policy.shape import misshapen

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


class InvalidPolicy(UsageError):
    """Policies that the API server would reject. ``reasons`` maps ``namespace/name`` to its messages."""

    def __init__(self, policies: Sequence[tuple[Mapping[str, Any], list[str]]]) -> None:
        self.reasons: dict[str, list[str]] = {}
        lines = []
        for obj, reasons in policies:
            metadata = obj.get("metadata") or {}
            name = str(metadata.get("name", ""))
            self.reasons[f"{metadata.get('namespace') or 'default'}/{name}"] = reasons
            lines.append(f'NetworkPolicy "{name}" is invalid: {"; ".join(reasons)}')
        super().__init__("\n".join(lines))


def invalid(obj: Mapping[str, Any]) -> list[str]:
    """Return why the API server would reject a NetworkPolicy; an empty list if it would accept it.

    An object of the wrong shape is rejected when it is decoded, before validation: then the reasons are
    about the shape only. Unknown fields count as with ``fieldValidation=Strict``, kubectl's default.
    """
    shape = list(misshapen(obj))
    if shape:
        return shape
    return [*_metadata(obj.get("metadata") or {}), *_spec(obj.get("spec") or {})]


def _bad(path: str, value: object, message: str) -> str:
    shown = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"{path}: Invalid value: {shown}: {message}"


def _unsupported(path: str, value: str, supported: Sequence[str]) -> str:
    return f"{path}: Unsupported value: {json.dumps(value)}: supported values: {', '.join(map(json.dumps, supported))}"


def _metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    name = metadata.get("name")
    if not name:
        if not metadata.get("generateName"):
            yield "metadata.name: Required value: name or generateName is required"
    else:
        for message in names.subdomain(name):
            yield _bad("metadata.name", name, message)
    for message in names.dns_label(metadata.get("namespace") or "default"):
        yield _bad("metadata.namespace", metadata["namespace"], message)
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label("metadata.labels", key, value)
    for key in metadata.get("annotations") or {}:
        for message in names.qualified(key.lower()):
            yield _bad("metadata.annotations", key, message)


def _items(parent: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a list; a null one decodes to the empty object."""
    return (item or {} for item in parent.get(key) or ())


def _label(path: str, key: str, value: str | None) -> Iterator[str]:
    for message in names.qualified(key):
        yield _bad(path, key, message)
    for message in names.label_value(value or ""):
        yield _bad(path, value, message)


def _spec(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _selector("spec.podSelector", spec.get("podSelector") or {})
    for section, side in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(_items(spec, section)):
            for j, port in enumerate(_items(rule, "ports")):
                yield from _port(f"spec.{section}[{i}].ports[{j}]", port)
            for j, peer in enumerate(_items(rule, side)):
                yield from _peer(f"spec.{section}[{i}].{side}[{j}]", peer)
    types = spec.get("policyTypes") or ()
    if len(types) > len(_TYPES):
        yield _bad("spec.policyTypes", list(types), "may not specify more than two policyTypes")
        return
    for i, kind in enumerate(types):
        if kind not in _TYPES:
            yield _unsupported(f"spec.policyTypes[{i}]", kind or "", _TYPES)


def _selector(path: str, selector: Mapping[str, Any]) -> Iterator[str]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from _label(f"{path}.matchLabels", key, value)
    for i, expression in enumerate(_items(selector, "matchExpressions")):
        yield from _expression(f"{path}.matchExpressions[{i}]", expression)


def _expression(path: str, expression: Mapping[str, Any]) -> Iterator[str]:
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            yield f"{path}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield f"{path}.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
    else:
        yield _bad(f"{path}.operator", operator, "not a valid selector operator")
    for message in names.qualified(expression.get("key", "")):
        yield _bad(f"{path}.key", expression.get("key", ""), message)
    for i, value in enumerate(values):
        for message in names.label_value(value or ""):
            yield _bad(f"{path}.values[{i}]", value, message)


def _port(path: str, entry: Mapping[str, Any]) -> Iterator[str]:
    protocol, port, end = entry.get("protocol"), entry.get("port"), entry.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        yield _unsupported(f"{path}.protocol", protocol, _PROTOCOLS)
    if port is None:
        if end is not None:
            yield _bad(f"{path}.endPort", end, "may not be specified when `port` is not specified")
    elif isinstance(port, str):
        if end is not None:
            yield _bad(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
        for message in names.port_name(port):
            yield _bad(f"{path}.port", port, message)
    else:
        if not 1 <= port <= 65535:
            yield _bad(f"{path}.port", port, names.PORT_NUMBER)
        if end is not None and end < port:
            # Older releases show the value of `port` here.
            yield _bad(f"{path}.endPort", end, "must be greater than or equal to `port`")
        if end is not None and not 1 <= end <= 65535:
            yield _bad(f"{path}.endPort", end, names.PORT_NUMBER)


def _peer(path: str, peer: Mapping[str, Any]) -> Iterator[str]:
    pods, namespaces, block = (peer.get(key) for key in ("podSelector", "namespaceSelector", "ipBlock"))
    if pods is not None:
        yield from _selector(f"{path}.podSelector", pods)
    if namespaces is not None:
        yield from _selector(f"{path}.namespaceSelector", namespaces)
    if block is not None:
        yield from _block(f"{path}.ipBlock", block)
    if pods is None and namespaces is None and block is None:
        yield f"{path}: Required value: must specify a peer"
    elif block is not None and (pods is not None or namespaces is not None):
        yield f"{path}: Forbidden: may not specify both ipBlock and another peer"


def _block(path: str, block: Mapping[str, Any]) -> Iterator[str]:
    text = block.get("cidr", "")
    if not text:
        yield f"{path}.cidr: Required value"
        return
    cidr = _network(text)
    if cidr is None:
        yield _bad(f"{path}.cidr", text, _BAD_CIDR)
        return
    for i, text in enumerate(block.get("except") or ()):
        exception = text or ""  # null decodes to the empty text
        network = _network(exception)
        if network is None:
            yield _bad(f"{path}.except[{i}]", exception, _BAD_CIDR)
        elif not _strictly_inside(network, cidr):
            yield _bad(f"{path}.except[{i}]", exception, "must be a strict subset of `cidr`")


def _network(text: str) -> Network | None:
    try:
        return parse_network(text)
    except ValueError:
        return None


def _strictly_inside(network: Network, cidr: Network) -> bool:
    return (
        network.version == cidr.version
        and network.prefixlen > cidr.prefixlen
        and network.network_address in cidr
    )
