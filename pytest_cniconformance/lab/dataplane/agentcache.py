# SPDX-License-Identifier: Apache-2.0
"""Faults of knowledge: the store as a policy agent believes it to be.

An agent with a stale or incomplete cache programs, soundly, what it believes. ``AgentCache`` stands between the
store and the compiler; without such a fault it passes on what is there. Objects are never changed in place.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet, Store

NETWORK_POLICIES = "networkpolicies.networking.k8s.io"
_FIRST = 100
_BURST = 1.0
"""Seconds within which a change after another counts as one of a burst."""


Memory = dict[str, Any]
"""What one fault remembers."""

Connection = tuple[str, "PodNet"]
"""The node of a pod, and what its kubelet told of its network."""

Belief = Callable[["list[Obj]", Memory, "Store"], "list[Obj]"]
"""Turns the objects of a resource into what the agent takes them for."""


class AgentCache:
    """Reads the store through the faults that are in force."""

    def __init__(self, store: Store, faults: Collection[str]) -> None:
        self._store = store
        self._ghosts: dict[str, Connection] | None = {} if "finished-pods-remembered" in faults else None
        self._beliefs = [(*BELIEFS[name], Memory()) for name in BELIEFS.keys() & set(faults)]

    def list(self, resource: str) -> list[Obj]:
        """Return all objects of a resource, as the agent knows them."""
        found = self._store.list(resource)
        for about, belief, memory in self._beliefs:
            if resource == about:
                found = belief(found, memory, self._store)
        return found

    def connected(self, now: Mapping[str, Connection]) -> Mapping[str, Connection]:
        """Return which pods have which addresses, as the agent knows it.

        The ghosts of a fault keep their addresses for as long as there is an object of their name.
        """
        if self._ghosts is None:
            return now
        objects = {_uid(pod) for pod in self._store.list("pods")}
        self._ghosts = {uid: known for uid, known in {**self._ghosts, **now}.items() if uid in objects}
        return self._ghosts


def _uid(obj: Obj) -> str:
    return str(obj["metadata"].get("uid") or _name(obj))


def _name(obj: Obj) -> str:
    return f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"


def _each(change: Callable[[Obj], Obj]) -> Belief:
    return lambda found, *_: [change(obj) for obj in found]


def _first_seen(key: Callable[[Obj], str], *fields: str) -> Belief:
    """Keep these fields of the metadata as they were when the agent first saw the object of this key."""

    def belief(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
        known = [memory.setdefault(key(obj), obj)["metadata"] for obj in found]
        return [
            {**obj, "metadata": {**obj["metadata"], **{field: old.get(field) for field in fields}}}
            for obj, old in zip(found, known, strict=True)
        ]

    return belief


def _labels(change: Callable[[dict[str, str]], dict[str, str]]) -> Belief:
    def relabel(obj: Obj) -> Obj:
        return {**obj, "metadata": {**obj["metadata"], "labels": change(obj["metadata"].get("labels") or {})}}

    return _each(relabel)


def _spec(**change: Callable[[Any], Any]) -> Belief:
    return _each(
        lambda obj: {**obj, "spec": obj["spec"] | {k: f(obj["spec"].get(k) or []) for k, f in change.items()}}
    )


# -- policies ---------------------------------------------------------------------------------------------------


def _never_updated(key: Callable[[Obj], str]) -> Belief:
    return lambda found, memory, _: [memory.setdefault(key(obj), obj) for obj in found]


def _never_deleted(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
    memory.update((_uid(obj), obj) for obj in found)
    return list(memory.values())


def _updates_lost_in_bursts(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
    """Miss what follows a change of the same object too closely, until the object changes again."""
    now = time.monotonic()
    for obj in found:
        version = obj["metadata"].get("resourceVersion")
        seen, kept, at = memory.get(_uid(obj)) or (None, obj, 0.0)
        if version != seen:
            kept = obj if now - at > _BURST else kept
            memory[_uid(obj)] = (version, kept, now)
    return [memory[_uid(obj)][1] for obj in found]


def _old_subjects_stay(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
    """Keep pods isolated that a policy once selected, with no rule for them."""
    beliefs = []
    for obj in found:
        subjects = memory.setdefault(_uid(obj), {})
        now = obj["spec"].get("podSelector") or {}
        subjects[json.dumps(now, sort_keys=True)] = now
        beliefs.append(obj)
        for index, subject in enumerate(subjects.values()):
            if subject != now:
                kept = {"podSelector": subject, "policyTypes": obj["spec"].get("policyTypes")}
                meta = {**obj["metadata"], "name": f"{obj['metadata']['name']}.{index}"}
                beliefs.append({**obj, "metadata": meta, "spec": kept})
    return beliefs


def _types_only_grow(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
    for obj in found:
        types = memory.setdefault(_uid(obj), {})
        types.update(dict.fromkeys(obj["spec"].get("policyTypes") or []))
    return [{**obj, "spec": {**obj["spec"], "policyTypes": list(memory[_uid(obj)])}} for obj in found]


def _first_hundred(found: list[Obj], *_: Any) -> list[Obj]:
    """Take the oldest hundred of each namespace's policies."""
    count: dict[str, int] = {}
    kept = []
    for obj in sorted(found, key=lambda obj: str(obj["metadata"].get("creationTimestamp"))):
        namespace = obj["metadata"]["namespace"]
        count[namespace] = count.get(namespace, 0) + 1
        if count[namespace] <= _FIRST:
            kept.append(obj)
    return kept


def _shared_peers_deleted(found: list[Obj], memory: Memory, _: Store) -> list[Obj]:
    """Let a deleted policy take the address sets of its peers with it, whoever else still uses them."""
    known: dict[str, Obj] = memory.setdefault("policies", {})
    broken: set[str] = memory.setdefault("peers", set())
    present = {_uid(obj): obj for obj in found}
    for uid in known.keys() - present.keys():
        broken |= {_text(peer) for peer in _peers(known[uid])}
    known.clear()
    known.update(present)

    def rule(rule: Obj) -> Obj:
        nobody = {"podSelector": {"matchExpressions": [{"key": "nobody", "operator": "In", "values": []}]}}
        return {
            key: [nobody if _text(peer) in broken else peer for peer in value]
            if key in ("from", "to")
            else value
            for key, value in rule.items()
        }

    sides = ("ingress", "egress")
    return [
        {
            **obj,
            "spec": obj["spec"] | {s: list(map(rule, obj["spec"][s])) for s in sides if obj["spec"].get(s)},
        }
        for obj in found
    ]


def _peers(policy: Obj) -> list[Obj]:
    rules = [*(policy["spec"].get("ingress") or []), *(policy["spec"].get("egress") or [])]
    return [peer for rule in rules for peer in rule.get("from") or rule.get("to") or []]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# -- pods -------------------------------------------------------------------------------------------------------


def _only_those_before_the_policies(found: list[Obj], memory: Memory, store: Store) -> list[Obj]:
    """Fill sets when policies change; pods that come later are in none."""
    policies = {_uid(obj): obj["metadata"].get("resourceVersion") for obj in store.list(NETWORK_POLICIES)}
    if policies != memory.get("policies"):
        memory.update(policies=policies, pods={_uid(pod) for pod in found})
    return [pod for pod in found if not policies or _uid(pod) in memory["pods"]]


def _names_mean_every_protocol(found: list[Obj], *_: Any) -> list[Obj]:
    def container(container: Obj) -> Obj:
        ports = container.get("ports") or []
        return {
            **container,
            "ports": [{**port, "protocol": p} for port in ports for p in ("TCP", "UDP", "SCTP")],
        }

    return [
        {
            **pod,
            "spec": {**pod["spec"], "containers": list(map(container, pod["spec"].get("containers") or []))},
        }
        for pod in found
    ]


def _one_number_per_name(found: list[Obj], *_: Any) -> list[Obj]:
    """Let a name stand for the number of the first pod that has it, in every pod."""
    ports: dict[tuple[str, str], Obj] = {}
    for pod in sorted(found, key=lambda pod: (pod["metadata"].get("namespace", ""), pod["metadata"]["name"])):
        for container in pod["spec"].get("containers") or []:
            for port in container.get("ports") or []:
                ports.setdefault((str(port.get("name") or ""), port.get("protocol") or "TCP"), port)
    everywhere = {"name": "all", "ports": [port for (name, _), port in ports.items() if name]}
    return [
        {**pod, "spec": {**pod["spec"], "containers": [everywhere], "initContainers": []}} for pod in found
    ]


BELIEFS: dict[str, tuple[str, Belief]] = {
    "update-ignored": (NETWORK_POLICIES, _never_updated(_uid)),
    "recreated-policy-stale": (NETWORK_POLICIES, _never_updated(_name)),
    "stale-after-delete": (NETWORK_POLICIES, _never_deleted),
    "last-update-lost": (NETWORK_POLICIES, _updates_lost_in_bursts),
    "old-subjects-stay": (NETWORK_POLICIES, _old_subjects_stay),
    "types-only-grow": (NETWORK_POLICIES, _types_only_grow),
    "only-first-hundred": (NETWORK_POLICIES, _first_hundred),
    "delete-takes-shared-peers": (NETWORK_POLICIES, _shared_peers_deleted),
    "pod-relabel-ignored": ("pods", _first_seen(_uid, "labels")),
    "namespace-relabel-ignored": ("namespaces", _first_seen(_uid, "labels")),
    "namespace-labels-by-name": (
        "namespaces",
        _first_seen(_name, "labels"),
    ),
    "namespace-name-label-unknown": (
        "namespaces",
        _labels(lambda labels: {k: v for k, v in labels.items() if k != "kubernetes.io/metadata.name"}),
    ),
    "empty-value-is-absent": ("pods", _labels(lambda labels: {k: v for k, v in labels.items() if v})),
    "terminating-forgotten": (
        "pods",
        lambda found, *_: [pod for pod in found if "deletionTimestamp" not in pod["metadata"]],
    ),
    "finished-pods-remembered": (
        "pods",
        _each(lambda pod: {**pod, "status": (pod.get("status") or {}) | {"phase": "Running"}}),
    ),
    "late-pods-unknown": ("pods", _only_those_before_the_policies),
    "sidecar-ports-unknown": ("pods", _spec(initContainers=lambda _: [])),
    "named-port-any-protocol": ("pods", _names_mean_every_protocol),
    "named-port-of-first-pod": ("pods", _one_number_per_name),
}
"""By the name of the fault: the resource that it concerns, and what the agent believes of it."""
