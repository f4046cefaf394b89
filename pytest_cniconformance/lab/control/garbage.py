# SPDX-License-Identifier: Apache-2.0
"""Garbage collection: objects whose owners are all gone are deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import name_of, namespace_of

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.store import Event, Store


class GarbageCollector:
    """Follows deletions and owner references through the whole store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._owners: dict[str, set[tuple[str, str, str]]] = {}  # owner's uid: its dependents' keys
        self._gone: set[str] = set()
        self._wake = asyncio.Event()
        for resource in store.resources():
            for obj in store.list(resource):
                self._note(resource, obj)
        store.observe(self._observe)

    def _observe(self, event: Event) -> None:
        if event.type == "DELETED":
            uid = event.object["metadata"]["uid"]
            if uid in self._owners:
                self._gone.add(uid)
                self._wake.set()
        else:
            self._note(event.resource, event.object)

    def _note(self, resource: str, obj: dict[str, object]) -> None:
        metadata = obj["metadata"]
        assert isinstance(metadata, dict)
        for owner in metadata.get("ownerReferences") or ():
            key = (resource, namespace_of(obj), name_of(obj))
            self._owners.setdefault(owner["uid"], set()).add(key)

    async def run(self) -> None:
        """Delete orphans until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            gone, self._gone = self._gone, set()
            for uid in gone:
                for resource, namespace, name in self._owners.pop(uid, set()):
                    self._collect(resource, namespace, name, uid)

    def _collect(self, resource: str, namespace: str, name: str, uid: str) -> None:
        obj = self.store.get(resource, namespace, name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        owners = obj["metadata"].get("ownerReferences") or []
        kept = [owner for owner in owners if owner["uid"] != uid]
        if len(kept) == len(owners):
            return
        if kept:
            metadata = {**obj["metadata"], "ownerReferences": kept}
            self.store.update(resource, {**obj, "metadata": metadata})
        else:
            self.store.delete(resource, namespace, name)
