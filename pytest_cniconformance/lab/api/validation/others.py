# SPDX-License-Identifier: Apache-2.0
"""The remaining built-in kinds: endpoints, data holders, workloads, events, bindings."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.selectors import matches
from pytest_cniconformance.lab.api.validation.networkpolicy import PROTOCOLS
from pytest_cniconformance.lab.api.validation.pod import validate_pod_spec

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector

_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_DATA_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_DATA_LIMIT = 1024 * 1024
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_IMMUTABLE = "field is immutable"


def _is_ip(text: Any) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def validate_endpoints(obj: Obj, collector: Collector) -> None:
    """Check an Endpoints object."""
    for number, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            collector.required(at, "must specify `addresses` or `notReadyAddresses`")
        for group in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(subset.get(group) or ()):
                if not _is_ip(address.get("ip")):
                    collector.invalid(f"{at}.{group}[{index}].ip", address.get("ip"), _IP_TEXT)
        for index, port in enumerate(subset.get("ports") or ()):
            collector.port_number(f"{at}.ports[{index}].port", port.get("port", 0))
            if port.get("protocol") not in PROTOCOLS:
                collector.unsupported(f"{at}.ports[{index}].protocol", port.get("protocol"), PROTOCOLS)


def validate_endpoint_slice(obj: Obj, collector: Collector) -> None:
    """Check an EndpointSlice."""
    kind = obj.get("addressType")
    if not kind:
        collector.required("addressType")
    elif kind not in ("IPv4", "IPv6", "FQDN"):
        collector.unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    for number, endpoint in enumerate(obj.get("endpoints") or ()):
        addresses = endpoint.get("addresses") or []
        if not addresses:
            collector.required(f"endpoints[{number}].addresses", "must contain at least 1 address")
        for index, address in enumerate(addresses):
            if kind != "FQDN" and not _is_ip(address):
                collector.invalid(f"endpoints[{number}].addresses[{index}]", address, _IP_TEXT)
    names: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        if port.get("name") in names:
            collector.duplicate(f"ports[{index}].name", port.get("name"))
        names.add(port.get("name", ""))
        if port.get("protocol") not in PROTOCOLS:
            collector.unsupported(f"ports[{index}].protocol", port.get("protocol"), PROTOCOLS)


def validate_endpoint_slice_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check that the address type stays."""
    if obj.get("addressType") != old.get("addressType"):
        collector.invalid("addressType", obj.get("addressType"), _IMMUTABLE)


def validate_data(obj: Obj, collector: Collector) -> None:
    """Check the keys and the size of a ConfigMap or a Secret."""
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            if not _DATA_KEY.fullmatch(key):
                collector.invalid(f"{field}[{key}]", key, _DATA_TEXT)
            if obj.get("kind") == "Secret" or field == "binaryData":
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    collector.invalid(f"{field}[{key}]", "<secret contents redacted>", "illegal base64 data")
            size += len(value)
    if size > _DATA_LIMIT:
        collector.too_long("data", _DATA_LIMIT)


def validate_data_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check that an immutable ConfigMap or Secret stays, and that a Secret keeps its type."""
    if obj.get("kind") == "Secret" and obj.get("type") != old.get("type"):
        collector.invalid("type", obj.get("type"), _IMMUTABLE)
    if not old.get("immutable"):
        return
    if not obj.get("immutable"):
        collector.forbidden("immutable", "field is immutable when `immutable` is set")
    for field in ("data", "binaryData"):
        if obj.get(field) != old.get(field):
            collector.forbidden(field, "field is immutable when `immutable` is set")


def validate_workload(obj: Obj, collector: Collector) -> None:
    """Check selector and template of a Deployment, DaemonSet, ReplicaSet or StatefulSet."""
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = spec.get("selector")
    if selector is None:
        collector.required("spec.selector")
    else:
        collector.label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            collector.invalid("spec.selector", selector, "empty selector is invalid for this kind")
        elif not matches(selector, labels):
            collector.invalid(
                "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
    collector.labels("spec.template.labels", labels)
    validate_pod_spec(template.get("spec") or {}, "spec.template.spec", collector)
    if (restart := (template.get("spec") or {}).get("restartPolicy")) in ("OnFailure", "Never"):
        collector.unsupported("spec.template.spec.restartPolicy", restart, ("Always",))
    if spec.get("replicas", 0) < 0:
        collector.invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")


def validate_workload_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check that the selector stays."""
    if obj["spec"].get("selector") != old["spec"].get("selector"):
        collector.invalid("spec.selector", obj["spec"].get("selector"), _IMMUTABLE)


def validate_event(obj: Obj, collector: Collector) -> None:
    """Check that an Event lies in the namespace of its object."""
    involved = (obj.get("involvedObject") or {}).get("namespace", "")
    if involved and involved != obj["metadata"].get("namespace"):
        collector.invalid("involvedObject.namespace", involved, "does not match event.namespace")


def validate_role_binding(obj: Obj, collector: Collector) -> None:
    """Check the role reference and the subjects of a binding."""
    reference = obj.get("roleRef") or {}
    allowed = ("ClusterRole", "Role") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in allowed:
        collector.unsupported("roleRef.kind", reference.get("kind", ""), allowed)
    if not reference.get("name"):
        collector.required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        if not subject.get("name"):
            collector.required(f"subjects[{index}].name")
