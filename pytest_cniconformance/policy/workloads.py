# SPDX-License-Identifier: Apache-2.0
"""The pods of workloads that are given without their pods: each stands as one pod named after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Obj = Mapping[str, Any]
Owner = tuple[str, str, str]
"""(namespace, kind, name)."""

GROUPS = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "ReplicaSet": "apps",
    "ReplicationController": "",
    "Job": "batch",
    "CronJob": "batch",
}
"""The API group of each kind of workload."""

# What a controller names after its parent, with a suffix.
_PARENTS = {"ReplicaSet": "Deployment", "Job": "CronJob"}


def is_workload(obj: Obj) -> bool:
    """Whether the object is one of the built-in workloads; other groups use the same names for other things."""
    group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return obj["kind"] in GROUPS and (group == GROUPS[obj["kind"]] or not version)


def stand_ins(workloads: Iterable[Obj], pods: Iterable[Obj]) -> Iterator[Obj]:
    """Yield a pod for each workload that has none among ``pods``.

    Left out are workloads that run no pod (scaled to zero, finished Jobs), and those that another of the
    workloads controls, such as the ReplicaSets of a Deployment. If a pod has the workload's very name, the
    stand-in is called ``name.kind``.
    """
    workloads, pods = list(workloads), list(pods)
    given = {_identity(obj) for obj in workloads}
    with_pods = {owner for pod in pods for owner in _owners(pod)}
    for obj in workloads:
        if _identity(obj) in with_pods:
            with_pods |= set(_owners(obj))
    taken = {_identity(pod)[::2] for pod in pods}
    for obj in workloads:
        controlled = any(owner in given for owner in _owners(obj))
        if controlled or _identity(obj) in with_pods or _at_rest(obj):
            continue
        pod = _pod(obj)
        if _identity(pod)[::2] in taken:
            pod["metadata"]["name"] += f".{obj['kind'].lower()}"
        taken.add(_identity(pod)[::2])
        yield pod


def _identity(obj: Obj) -> Owner:
    return str(obj["metadata"].get("namespace") or "default"), str(obj["kind"]), str(obj["metadata"]["name"])


def _owners(obj: Obj) -> Iterator[Owner]:
    namespace, _, _ = _identity(obj)
    for reference in obj["metadata"].get("ownerReferences") or ():
        kind, name = str(reference.get("kind")), str(reference.get("name"))
        yield namespace, kind, name
        if kind in _PARENTS:  # the object in between may not be among those given
            yield namespace, _PARENTS[kind], name.rpartition("-")[0]


def _at_rest(obj: Obj) -> bool:
    """Whether the workload runs no pod."""
    if (obj.get("spec") or {}).get("replicas") == 0:
        return True
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return obj["kind"] == "Job" and any(
        c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in conditions
    )


def _pod(obj: Obj) -> dict[str, Any]:
    """Return the pod of a workload's template, with the labels that its controller is sure to add."""
    namespace, kind, name = _identity(obj)
    spec = obj.get("spec") or {}
    if kind == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template") or {}
    metadata = template.get("metadata") or {}
    labels = dict(metadata.get("labels") or {})
    if kind == "Job":
        labels |= {"job-name": name, "batch.kubernetes.io/job-name": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": template.get("spec") or {},
    }
