# SPDX-License-Identifier: Apache-2.0
"""Whether a pod fits a node: the scheduler's filters, with the real scheduler's reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of
from pytest_cniconformance.lab.api.selectors import matches, matches_expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOSTNAME = "kubernetes.io/hostname"
_SELECTOR = "node(s) didn't match Pod's node affinity/selector"


@dataclass(slots=True)
class Cluster:
    """The nodes and the pods that run on them, as scheduling goes on."""

    nodes: list[Obj]
    _by_node: dict[str, list[Obj]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Obj], pods: Iterable[Obj]) -> Cluster:
        """Return the cluster that these objects make."""
        cluster = cls(list(nodes))
        for pod in pods:
            cluster.add(pod)
        return cluster

    def add(self, pod: Obj) -> None:
        """Count a pod on its node; a pod without one, or a finished one, takes no place."""
        node = pod["spec"].get("nodeName")
        if node and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            self._by_node.setdefault(node, []).append(pod)

    def on(self, node: Obj) -> list[Obj]:
        """Return the pods on a node."""
        return self._by_node.get(name_of(node), [])

    def in_domain(self, key: str, node: Obj) -> Iterator[Obj]:
        """Yield the pods on all nodes that share a node's value of a topology label."""
        value = labels_of(node).get(key)
        for other in self.nodes:
            if value is not None and labels_of(other).get(key) == value:
                yield from self.on(other)


def labels_of(obj: Obj) -> dict[str, str]:
    """Return an object's labels."""
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def misfit(pod: Obj, node: Obj, cluster: Cluster) -> str:
    """Return why a pod cannot run on a node; empty when it can."""
    spec = pod["spec"]
    if taint := _untolerated(spec, node):
        return taint
    if not _selected(spec, node):
        return _SELECTOR
    if _ports_taken(spec, cluster.on(node)):
        return "node(s) didn't have free ports for the requested pod ports"
    affinity = spec.get("affinity") or {}
    for term in _required(affinity.get("podAntiAffinity")):
        if any(_term_matches(term, pod, other) for other in cluster.in_domain(term["topologyKey"], node)):
            return "node(s) didn't match pod anti-affinity rules"
    if _repelled(pod, node, cluster):
        return "node(s) didn't satisfy existing pods anti-affinity rules"
    for term in _required(affinity.get("podAffinity")):
        everywhere = [other for one in cluster.nodes for other in cluster.on(one)]
        # The first pod of a group that wants to be together is let through.
        first = _term_matches(term, pod, pod) and not any(_term_matches(term, pod, one) for one in everywhere)
        near = any(_term_matches(term, pod, other) for other in cluster.in_domain(term["topologyKey"], node))
        if not near and not first:
            return "node(s) didn't match pod affinity rules"
    for constraint in spec.get("topologySpreadConstraints") or ():
        hard = constraint.get("whenUnsatisfiable") == "DoNotSchedule"
        if hard and _skew(constraint, pod, node, cluster) > constraint["maxSkew"]:
            return "node(s) didn't match pod topology spread constraints"
    return ""


def spread_penalty(pod: Obj, node: Obj, cluster: Cluster) -> int:
    """Return how far a node is from what the pod would like: its soft spread constraints."""
    return sum(
        _skew(constraint, pod, node, cluster)
        for constraint in pod["spec"].get("topologySpreadConstraints") or ()
        if constraint.get("whenUnsatisfiable") == "ScheduleAnyway"
    )


def _untolerated(spec: Obj, node: Obj) -> str:
    taints = list(node.get("spec", {}).get("taints") or ())
    if node.get("spec", {}).get("unschedulable"):
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    conditions = {one["type"]: one["status"] for one in node.get("status", {}).get("conditions") or ()}
    if conditions.get("Ready") != "True":
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    for taint in taints:
        if taint.get("effect") == "PreferNoSchedule":
            continue
        if not any(_tolerates(one, taint) for one in spec.get("tolerations") or ()):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "node(s) were unschedulable"
            value = f": {taint['value']}" if taint.get("value") else ": "
            return f"node(s) had untolerated taint {{{taint['key']}{value}}}"
    return ""


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("value", "") == taint.get("value", ""))


def _selected(spec: Obj, node: Obj) -> bool:
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": name_of(node)}
    return any(
        all(matches_expression(one, labels) for one in term.get("matchExpressions") or ())
        and all(matches_expression(one, fields) for one in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _ports_taken(spec: Obj, others: Iterable[Obj]) -> bool:
    wanted = set(_host_ports(spec))
    return bool(wanted) and any(wanted & set(_host_ports(other["spec"])) for other in others)


def _host_ports(spec: Obj) -> Iterator[tuple[str, int]]:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("protocol", "TCP"), port["hostPort"]


def _required(affinity: Obj | None) -> list[Obj]:
    return (affinity or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []


def _term_matches(term: Obj, owner: Obj, other: Obj) -> bool:
    """Whether ``other`` is one of the pods that a term of ``owner``'s affinity speaks of."""
    namespaces = term.get("namespaces") or [namespace_of(owner)]
    if "namespaceSelector" not in term and namespace_of(other) not in namespaces:
        return False
    return matches(term.get("labelSelector"), labels_of(other))


def _repelled(pod: Obj, node: Obj, cluster: Cluster) -> bool:
    for one in cluster.nodes:
        for other in cluster.on(one):
            for term in _required((other["spec"].get("affinity") or {}).get("podAntiAffinity")):
                value = labels_of(one).get(term["topologyKey"])
                same = value is not None and labels_of(node).get(term["topologyKey"]) == value
                if same and _term_matches(term, other, pod):
                    return True
    return False


def _skew(constraint: Obj, pod: Obj, node: Obj, cluster: Cluster) -> int:
    """Return how many more matching pods the node's domain would have than the emptiest one."""
    key = constraint["topologyKey"]
    counts: dict[str, int] = {}
    for other in cluster.nodes:
        domain = labels_of(other).get(key)
        if domain is not None and _selected(pod["spec"], other):
            matching = [
                one
                for one in cluster.on(other)
                if namespace_of(one) == namespace_of(pod)
                and matches(constraint.get("labelSelector"), labels_of(one))
            ]
            counts[domain] = counts.get(domain, 0) + len(matching)
    mine = labels_of(node).get(key)
    if mine is None or mine not in counts:
        return int(constraint.get("maxSkew", 1)) + 1
    own = 1 if matches(constraint.get("labelSelector"), labels_of(pod)) else 0
    return counts[mine] + own - min(counts.values())
