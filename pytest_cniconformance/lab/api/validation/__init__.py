# SPDX-License-Identifier: Apache-2.0
"""What the API server checks beyond the schema, with its texts: the parts that matter to networking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.validation import crd, networkpolicy, others, pod, service
from pytest_cniconformance.lab.api.validation.collector import Collector
from pytest_cniconformance.lab.api.validation.metadata import validate_metadata, validate_metadata_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.errors import Cause
    from pytest_cniconformance.lab.api.kinds import Resource
    from pytest_cniconformance.lab.api.objects import Obj

_CREATE: dict[str, Callable[[Obj, Collector], None]] = {
    "pods": pod.validate_pod,
    "services": service.validate_service,
    "networkpolicies.networking.k8s.io": networkpolicy.validate_network_policy,
    "endpoints": others.validate_endpoints,
    "endpointslices.discovery.k8s.io": others.validate_endpoint_slice,
    "configmaps": others.validate_data,
    "secrets": others.validate_data,
    "deployments.apps": others.validate_workload,
    "daemonsets.apps": others.validate_workload,
    "replicasets.apps": others.validate_workload,
    "statefulsets.apps": others.validate_workload,
    "events": others.validate_event,
    "rolebindings.rbac.authorization.k8s.io": others.validate_role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": others.validate_role_binding,
    "customresourcedefinitions.apiextensions.k8s.io": crd.validate_crd,
}
_UPDATE: dict[str, Callable[[Obj, Obj, Collector], None]] = {
    "pods": pod.validate_pod_update,
    "services": service.validate_service_update,
    "configmaps": others.validate_data_update,
    "secrets": others.validate_data_update,
    "endpointslices.discovery.k8s.io": others.validate_endpoint_slice_update,
    "deployments.apps": others.validate_workload_update,
    "daemonsets.apps": others.validate_workload_update,
    "replicasets.apps": others.validate_workload_update,
    "statefulsets.apps": others.validate_workload_update,
}


def validate(resource: Resource, obj: Obj, old: Obj | None = None) -> list[Cause]:
    """Return what is wrong with an object of a resource, on create or (with ``old``) on update."""
    collector = Collector()
    validate_metadata(resource, obj, collector)
    if old is not None:
        validate_metadata_update(obj, old, collector)
    if (check := _CREATE.get(resource.key)) is not None:
        check(obj, collector)
    if old is not None and (compare := _UPDATE.get(resource.key)) is not None:
        compare(obj, old, collector)
    return collector.causes
