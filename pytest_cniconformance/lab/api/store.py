# SPDX-License-Identifier: Apache-2.0
"""The versioned store: every object of the lab cluster, in memory, with watches.

All calls are synchronous and made from one asyncio loop, so a read followed by a write without an ``await``
between them is atomic. Objects are never changed in place: what the store hands out is shared, so copy it
(``clone``) before changing it.

A resource is named by its plural and group: ``pods``, ``networkpolicies.networking.k8s.io``.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.objects import Obj, Stored, clone, name_of, namespace_of, now
from pytest_cniconformance.lab.api.subscription import Event, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Event", "LogEntry", "Store", "Subscription"]

LOG_LENGTH = 20_000  # events kept for watches that start at an older resourceVersion
DEFAULT_GRACE = 30
# Kinds whose generation the real API never sets, although they have a spec.
WITHOUT_GENERATION = frozenset({"namespaces", "nodes", "services", "leases.coordination.k8s.io"})
WITH_GENERATION = frozenset({"endpointslices.discovery.k8s.io"})  # ... and one that has it without a spec

Objects = list[Obj]
Key = tuple[str, str]  # namespace ("" for cluster-scoped), name


class LogEntry(NamedTuple):
    """One change: its resourceVersion and the event."""

    version: int
    event: Event


class Store:
    """Objects by resource, namespace and name; one resourceVersion counter for all of them."""

    def __init__(self, *, log_length: int = LOG_LENGTH) -> None:
        self._objects: dict[str, dict[Key, Stored]] = {}
        self._version = 1
        self._log: deque[LogEntry] = deque(maxlen=log_length)
        self._forgotten = 0  # newest version that has fallen out of the log
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._observers: list[Callable[[Event], None]] = []

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    # --- reading ------------------------------------------------------------

    def list(self, resource: str, namespace: str | None = None) -> Objects:
        """Return the objects of a resource, ordered by namespace and name."""
        table = self._objects.get(resource, {})
        if namespace is None:
            return [table[key] for key in sorted(table)]
        return [table[key] for key in sorted(key for key in table if key[0] == namespace)]

    def get(self, resource: str, namespace: str | None, name: str) -> Obj | None:
        """Return one object, or None."""
        return self._objects.get(resource, {}).get((namespace or "", name))

    def resources(self) -> Sequence[str]:
        """Return the resources that hold at least one object."""
        return [resource for resource, table in self._objects.items() if table]

    def subscribe(self, *resources: str, since: int | None = None) -> Subscription:
        """Follow resources; the subscription starts with the present objects as ADDED.

        With ``since`` it starts with the events after that resourceVersion instead (410 when it is too old).
        """
        subscription = Subscription(lambda: self._unsubscribe(subscription, resources))
        if since is None:
            for resource in resources:
                for obj in self.list(resource):
                    subscription.push(Event("ADDED", resource, obj, None))
        else:
            for entry in self.events_since(since):
                if entry.event.resource in resources:
                    subscription.push(entry.event)
        for resource in resources:
            self._subscriptions.setdefault(resource, set()).add(subscription)
        return subscription

    def observe(self, observer: Callable[[Event], None]) -> None:
        """Call ``observer`` at once for every change, before the write returns. It must not write itself."""
        self._observers.append(observer)

    def events_since(self, version: int) -> Sequence[LogEntry]:
        """Return the changes after ``version``, oldest first; raises 410 when they are no longer all kept."""
        if version < self._forgotten:
            raise errors.expired(f"too old resource version: {version} ({self._forgotten})")
        newer: deque[LogEntry] = deque()
        for entry in reversed(self._log):
            if entry.version <= version:
                break
            newer.appendleft(entry)
        return newer

    def _unsubscribe(self, subscription: Subscription, resources: Iterable[str]) -> None:
        for resource in resources:
            self._subscriptions.get(resource, set()).discard(subscription)

    # --- writing ------------------------------------------------------------

    def create(self, resource: str, obj: Obj) -> Obj:
        """Store a new object and return it; raises AlreadyExists.

        Sets uid, resourceVersion, creationTimestamp and generation. Defaults and validation are the caller's.
        """
        key = (namespace_of(obj), name_of(obj))
        if key in self._objects.get(resource, {}):
            raise errors.already_exists(resource, key[1])
        metadata = {
            **obj["metadata"],
            "uid": str(uuid.uuid4()),
            "resourceVersion": self._next(),
            "creationTimestamp": obj["metadata"].get("creationTimestamp") or now(),
        }
        if _has_generation(resource, obj):
            metadata["generation"] = 1
        stored = _stored({**obj, "metadata": metadata})
        self._objects.setdefault(resource, {})[key] = stored
        self._announce(Event("ADDED", resource, stored, None))
        return stored

    def update(self, resource: str, obj: Obj, *, subresource: str | None = None) -> Obj:
        """Replace an object and return the stored one; raises NotFound and Conflict.

        ``subresource="status"`` takes only ``status`` from ``obj``. Otherwise the whole object is taken,
        ``status`` included. A resourceVersion in ``obj`` must be the current one; leave it out to overwrite.
        A write that changes nothing keeps the version. An object under deletion vanishes with its last
        finalizer.
        """
        key = (namespace_of(obj), name_of(obj))
        old = self._objects.get(resource, {}).get(key)
        if old is None:
            raise errors.not_found(resource, key[1])
        given, present = obj["metadata"], old["metadata"]
        if (version := given.get("resourceVersion")) and version != present["resourceVersion"]:
            raise errors.conflict(resource, key[1])
        if (uid := given.get("uid")) and uid != present["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {present['uid']}"
            raise errors.conflict(resource, key[1], why)
        if subresource == "status":
            changed = {**old, "status": obj.get("status", {})}
        else:
            kept = {
                name: present[name]
                for name in (
                    "uid",
                    "creationTimestamp",
                    "generation",
                    "deletionTimestamp",
                    "deletionGracePeriodSeconds",
                    "resourceVersion",
                )
                if name in present
            }
            changed = {**obj, "metadata": {**given, **kept}}
        if changed == old:
            return old
        return self._replace(resource, key, old, changed)

    def modify(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], None],
        *,
        subresource: str | None = None,
    ) -> Obj | None:
        """Apply ``change`` to a copy of the current object and store it; None when there is none."""
        old = self.get(resource, namespace, name)
        if old is None:
            return None
        copied: Obj = clone(old)
        change(copied)
        return self.update(resource, copied, subresource=subresource)

    def delete(self, resource: str, namespace: str | None, name: str, *, grace: int | None = None) -> Obj:
        """Delete an object, as its kind is deleted; returns its last state.

        A pod that runs on a node only gets a deletionTimestamp (after ``grace`` seconds, by default its own
        grace period); its kubelet calls again with ``grace=0``. Finalizers keep an object while they last.
        """
        key = (namespace or "", name)
        old = self._objects.get(resource, {}).get(key)
        if old is None:
            raise errors.not_found(resource, name)
        wait = _grace(old, grace) if resource == "pods" else 0
        if not wait and not _finalizers(old):
            return self._remove(resource, key, old)
        marked = _mark_deleted(resource, old, wait)
        return old if marked is None else self._replace(resource, key, old, marked)

    def _replace(self, resource: str, key: Key, old: Stored, changed: Obj) -> Obj:
        if "deletionTimestamp" in changed["metadata"] and _is_finished(resource, changed):
            return self._remove(resource, key, old, changed)
        stored = _stored(changed)
        stored["metadata"]["resourceVersion"] = self._next()
        if "generation" in old["metadata"] and _desired(old) != _desired(changed):
            stored["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._objects[resource][key] = stored
        self._announce(Event("MODIFIED", resource, stored, old))
        return stored

    def _remove(self, resource: str, key: Key, old: Stored, last: Obj | None = None) -> Obj:
        gone = _stored(last or old)
        gone["metadata"]["resourceVersion"] = self._next()
        del self._objects[resource][key]
        self._announce(Event("DELETED", resource, gone, old))
        return gone

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _announce(self, event: Event) -> None:
        if len(self._log) == self._log.maxlen:
            self._forgotten = self._log[0].version
        self._log.append(LogEntry(self._version, event))
        for observer in self._observers:
            observer(event)
        for subscription in self._subscriptions.get(event.resource, ()):
            subscription.push(event)


def _stored(obj: Obj) -> Stored:
    # apiVersion and kind come first: lists of built-in kinds cut them off the cached JSON of their items.
    copied: Obj = clone(obj)
    head: Obj = {name: copied.pop(name) for name in ("apiVersion", "kind") if name in copied}
    return Stored({**head, **copied})


def _has_generation(resource: str, obj: Obj) -> bool:
    return resource in WITH_GENERATION or ("spec" in obj and resource not in WITHOUT_GENERATION)


def _desired(obj: Obj) -> Obj:
    return {name: part for name, part in obj.items() if name not in ("metadata", "status")}


def _finalizers(obj: Obj) -> bool:
    if obj["metadata"].get("finalizers"):
        return True
    return obj.get("kind") == "Namespace" and bool(obj.get("spec", {}).get("finalizers"))


def _is_finished(resource: str, obj: Obj) -> bool:
    if _finalizers(obj):
        return False
    return resource != "pods" or obj["metadata"].get("deletionGracePeriodSeconds") == 0


def _grace(pod: Obj, grace: int | None) -> int:
    if not pod.get("spec", {}).get("nodeName") or pod.get("status", {}).get("phase") in (
        "Succeeded",
        "Failed",
    ):
        return 0
    period: int = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE) if grace is None else grace
    present = pod["metadata"].get("deletionGracePeriodSeconds")
    return period if present is None else min(period, present)


def _mark_deleted(resource: str, old: Obj, wait: int) -> Obj | None:
    """Return ``old`` with its deletion noted, or None when that is noted already."""
    metadata = old["metadata"]
    if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= wait:
        return None
    marked: Obj = clone(old)
    marked["metadata"] |= {"deletionTimestamp": now(wait), "deletionGracePeriodSeconds": wait}
    if resource == "namespaces":
        marked.setdefault("status", {})["phase"] = "Terminating"
        marked["metadata"].pop("deletionGracePeriodSeconds")
    if "generation" in metadata:
        marked["metadata"]["generation"] += 1
    return marked
