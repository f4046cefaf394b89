# SPDX-License-Identifier: Apache-2.0
"""What is in a set of manifests: the objects that count, and what a reader must know of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy.manifests import Document
from pytest_cniconformance.policy.objects import finished, known, unlisted
from pytest_cniconformance.policy.shape import misshapen_metadata
from pytest_cniconformance.policy.validate import invalid
from pytest_cniconformance.policy.workloads import is_workload, stand_ins

Obj = Mapping[str, Any]

_CLUSTER_WIDE = ("Namespace", "Node")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The objects for ``ClusterState.from_objects``, and notes: what was left out, doubled or added."""

    objects: tuple[Obj, ...]
    notes: tuple[str, ...]


def take_stock(documents: Iterable[Document]) -> Inventory:
    """Sort out the objects of all documents.

    Raises:
        UsageError: something is no Kubernetes object, there is none at all, or the API server would reject a
            NetworkPolicy; every rejected one is named with all reasons.
    """
    kept: dict[tuple[str, str], Document] = {}
    doubled: list[str] = []
    wrong: list[str] = []
    ignored: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for document in _objects(documents):
        obj, kind = document.value, document.value["kind"]
        if _foreign_policy(obj):
            elsewhere[f"{kind} of {obj.get('apiVersion')}"] += 1
            continue
        if kind == "NetworkPolicy":
            reasons = list(_rejections(obj))
            wrong += [f"{document.place}: {reason}" for reason in reasons]
            if reasons:
                continue
        elif known(obj) or is_workload(obj):
            _check(document)
        else:
            ignored[kind] += 1
            continue
        name = _name(obj)
        before = kept.get((kind, name))
        if before is not None and before.value != obj:
            doubled.append(
                f"{kind} {name} is given twice ({before.place}, {document.place}): the later counts"
            )
        kept[kind, name] = document
    if wrong:
        raise UsageError("\n".join(wrong))
    if not kept and not ignored and not elsewhere:
        raise UsageError("no Kubernetes objects in the input")
    # Sorted, so that what is said does not depend on the order of files and documents.
    objects = [kept[key].value for key in sorted(kept)]
    added = _stand_ins(objects)
    return Inventory(
        tuple([obj for obj in objects if known(obj)] + added),
        tuple(_notes(doubled, ignored, elsewhere, len(added), sum(map(_done, objects)))),
    )


def _objects(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the objects one by one; what is inside of a list keeps the list's place."""
    for document in documents:
        try:
            yield from (Document(obj, document.place) for obj in unlisted(document.value))
        except UsageError as error:
            raise UsageError(f"{document.place}: {error}") from None


def _name(obj: Obj) -> str:
    name = str(obj["metadata"]["name"])
    return name if obj["kind"] in _CLUSTER_WIDE else f"{obj['metadata'].get('namespace') or 'default'}/{name}"


def _foreign_policy(obj: Obj) -> bool:
    """Whether the object is a policy of another API, which decides reachability too and is not evaluated."""
    group = str(obj.get("apiVersion") or "").rpartition("/")[0]
    kind: str = obj["kind"]
    if kind == "NetworkPolicy":
        return "." in group and not group.endswith(".k8s.io")
    return kind.endswith("NetworkPolicy")


def _rejections(obj: Obj) -> Iterator[str]:
    """Yield what the API server would say against a NetworkPolicy."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping):
        yield "NetworkPolicy is invalid: metadata: Required value"
        return
    name = f"{metadata.get('namespace') or 'default'}/{metadata.get('name') or ''}"
    version = obj.get("apiVersion")
    reasons = invalid(obj)
    if version and version != "networking.k8s.io/v1":
        reasons = [f'no matches for kind "NetworkPolicy" in version "{version}"']
    elif not reasons and not metadata.get("name"):
        reasons = ["metadata.name: Required value: a generated name cannot be told in a report"]
    yield from (f"NetworkPolicy {name} is invalid: {reason}" for reason in reasons)


def _check(document: Document) -> None:
    obj, kind = document.value, document.value["kind"]
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        raise UsageError(f"{document.place}: {kind} without metadata.name")
    for reason in misshapen_metadata(obj):
        raise UsageError(f"{document.place}: {kind} {metadata['name']}: {reason}")
    for part in ("spec", "status"):
        if not isinstance(obj.get(part), Mapping | None):
            raise UsageError(f"{document.place}: {kind} {metadata['name']}: {part} is no mapping")


def _stand_ins(objects: list[Obj]) -> list[Obj]:
    pods = [obj for obj in objects if obj["kind"] == "Pod"]
    workloads = [obj for obj in objects if is_workload(obj)]
    try:
        return list(stand_ins(workloads, pods))
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"a workload cannot be read: a field has the wrong type ({error})") from None


def _done(obj: Obj) -> bool:
    return obj["kind"] == "Pod" and finished(obj)


def _notes(
    doubled: list[str], ignored: Counter[str], elsewhere: Counter[str], added: int, done: int
) -> Iterator[str]:
    yield from doubled
    if added:
        yield f"{_count(added, 'workload')} without pods: each stands as one pod named after it"
    if done:
        yield f"{_count(done, 'pod')} finished and left out"
    if elsewhere:
        yield f"policies of other APIs are not evaluated: {_listed(elsewhere)}"
    if ignored:
        yield f"{_count(ignored.total(), 'object')} of other kinds ignored: {_listed(ignored)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))
