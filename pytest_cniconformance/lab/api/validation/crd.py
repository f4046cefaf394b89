# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinition: names, versions and the presence of a structural schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector


def validate_crd(obj: Obj, collector: Collector) -> None:
    """Check a CustomResourceDefinition."""
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    for field in ("kind", "plural"):
        if not names.get(field):
            collector.required(f"spec.names.{field}")
    if not spec.get("group"):
        collector.required("spec.group")
    else:
        collector.dns_subdomain("spec.group", spec["group"])
    expected = f"{names.get('plural', '')}.{spec.get('group', '')}"
    if obj["metadata"].get("name") != expected:
        text = 'must be spec.names.plural+"."+spec.group'
        collector.invalid("metadata.name", obj["metadata"].get("name"), text)
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        collector.unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        collector.invalid(
            "spec.versions", versions, "must have exactly one version marked as storage version"
        )
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            collector.required(f"{at}.schema.openAPIV3Schema", "schemas are required")
        elif schema.get("type") != "object":
            text = "must be object" if schema.get("type") else "must not be empty at the root"
            collector.invalid(f"{at}.schema.openAPIV3Schema.type", schema.get("type", ""), text)
