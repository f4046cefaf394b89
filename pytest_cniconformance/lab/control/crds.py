# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinitions that the lab serves from the start: MetalLB's, as far as layer 2 uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.objects import Obj

_STRING: Obj = {"type": "string"}
_STRINGS: Obj = {"type": "array", "items": _STRING}
_SELECTOR: Obj = {
    "type": "object",
    "x-kubernetes-map-type": "atomic",
    "properties": {
        "matchLabels": {"type": "object", "additionalProperties": _STRING},
        "matchExpressions": {
            "type": "array",
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {"key": _STRING, "operator": _STRING, "values": _STRINGS},
            },
        },
    },
}
_SELECTORS: Obj = {"type": "array", "items": _SELECTOR}


def definition(
    group: str,
    version: str,
    kind: str,
    plural: str,
    properties: Obj,
    *,
    required: tuple[str, ...] = (),
    namespaced: bool = True,
    short: tuple[str, ...] = (),
    columns: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Obj:
    """Return a CustomResourceDefinition with one version whose ``spec`` has these properties.

    ``more`` joins the schema's top level (``status``, for example, as a schema). With a ``status`` the status
    subresource is served.
    """
    spec: Obj = {"type": "object", "properties": properties}
    if required:
        spec["required"] = list(required)
    served: Obj = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, **more}}},
    }
    if "status" in more:
        served["subresources"] = {"status": {}}
    if columns:
        served["additionalPrinterColumns"] = [
            {"name": name, "type": "string", "jsonPath": path} for name, path in columns
        ]
    names: Obj = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    if short:
        names["shortNames"] = list(short)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [served],
        },
    }


def metallb_definitions() -> Iterator[Obj]:
    """Yield IPAddressPool and L2Advertisement of metallb.io/v1beta1."""
    yield definition(
        "metallb.io",
        "v1beta1",
        "IPAddressPool",
        "ipaddresspools",
        {
            "addresses": _STRINGS,
            "autoAssign": {"type": "boolean", "default": True},
            "avoidBuggyIPs": {"type": "boolean", "default": False},
            "serviceAllocation": {
                "type": "object",
                "properties": {
                    "priority": {"type": "integer"},
                    "namespaces": _STRINGS,
                    "namespaceSelectors": _SELECTORS,
                    "serviceSelectors": _SELECTORS,
                },
            },
        },
        required=("addresses",),
        columns=(
            ("Auto Assign", ".spec.autoAssign"),
            ("Avoid Buggy IPs", ".spec.avoidBuggyIPs"),
            ("Addresses", ".spec.addresses"),
        ),
        status={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )
    yield definition(
        "metallb.io",
        "v1beta1",
        "L2Advertisement",
        "l2advertisements",
        {
            "ipAddressPools": _STRINGS,
            "ipAddressPoolSelectors": _SELECTORS,
            "nodeSelectors": _SELECTORS,
            "interfaces": _STRINGS,
        },
        columns=(("IPAddressPools", ".spec.ipAddressPools"), ("Interfaces", ".spec.interfaces")),
        status={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )
