# SPDX-License-Identifier: Apache-2.0
"""ObjectMeta: names, labels, annotations and what may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.validation.collector import SUBDOMAIN, SUBDOMAIN_TEXT

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Resource
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector

_ANNOTATIONS_LIMIT = 256 * 1024
_PATH_NAMED = "rbac.authorization.k8s.io"


def validate_metadata(resource: Resource, obj: Obj, collector: Collector) -> None:
    """Check the metadata of any object."""
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    if not name:
        collector.required("metadata.name", "name or generateName is required")
    elif resource.group == _PATH_NAMED:
        if "/" in name or "%" in name or name in (".", ".."):
            collector.invalid("metadata.name", name, "may not contain '/' or '%'")
    elif resource.key == "services":
        collector.dns_1035_label("metadata.name", name)
    elif resource.key == "namespaces":
        collector.dns_label("metadata.name", name)
    else:
        collector.dns_subdomain("metadata.name", name)
    labels = metadata.get("labels") or {}
    if resource.key == "namespaces" and labels.get("kubernetes.io/metadata.name", name) != name:
        collector.invalid("metadata.labels[kubernetes.io/metadata.name]", labels, f"must be {name}")
    collector.labels("metadata.labels", labels)
    size = 0
    for key, value in (metadata.get("annotations") or {}).items():
        collector.label_key("metadata.annotations", key.lower())
        size += len(key) + len(value)
    if size > _ANNOTATIONS_LIMIT:
        collector.too_long("metadata.annotations", _ANNOTATIONS_LIMIT)
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and not SUBDOMAIN.fullmatch(finalizer):
            collector.invalid(f"metadata.finalizers[{index}]", finalizer, SUBDOMAIN_TEXT)
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                collector.invalid(
                    f"metadata.ownerReferences[{index}].{field}", "", f"{field} must not be empty"
                )


def validate_metadata_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check that an object under deletion gains no finalizers."""
    if old["metadata"].get("deletionTimestamp"):
        present = set(old["metadata"].get("finalizers") or ())
        added = [one for one in obj["metadata"].get("finalizers") or () if one not in present]
        if added:
            collector.forbidden(
                "metadata.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers {added}",
            )
