# SPDX-License-Identifier: Apache-2.0
"""Namespaces: what each new one holds, and the removal of everything in one that is deleted."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.objects import Obj, clone, name_of, namespace_of
from pytest_cniconformance.lab.control.base import Controller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event, Store

_log = logging.getLogger(__name__)
ROOT_CA = "kube-root-ca.crt"


class NamespaceController(Controller):
    """Creates the default ServiceAccount and the root CA ConfigMap in every namespace."""

    resources = ("namespaces", "serviceaccounts", "configmaps")

    def __init__(self, store: Store, ca_pem: str) -> None:
        super().__init__(store)
        self._ca_pem = ca_pem

    def react(self, events: Sequence[Event]) -> None:
        """Complete the namespaces that the events name."""
        for name in {namespace_of(event.object) or name_of(event.object) for event in events}:
            namespace = self.store.get("namespaces", None, name)
            if namespace is None or namespace["metadata"].get("deletionTimestamp"):
                continue
            self._ensure("serviceaccounts", name, {"apiVersion": "v1", "kind": "ServiceAccount"}, "default")
            config = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": self._ca_pem}}
            self._ensure("configmaps", name, config, ROOT_CA)

    def _ensure(self, resource: str, namespace: str, obj: Obj, name: str) -> None:
        if self.store.get(resource, namespace, name) is None:
            self.store.create(resource, {**obj, "metadata": {"namespace": namespace, "name": name}})


class NamespaceRemoval:
    """Empties namespaces under deletion and lets them go when nothing is left in them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        store.observe(self._observe)
        for namespace in store.list("namespaces"):
            if namespace["metadata"].get("deletionTimestamp"):
                self._mark(name_of(namespace))

    def _observe(self, event: Event) -> None:
        if event.resource == "namespaces":
            if event.type == "MODIFIED" and event.object["metadata"].get("deletionTimestamp"):
                self._mark(name_of(event.object))
        elif event.type != "MODIFIED" and (name := namespace_of(event.object)):
            home = self.store.get("namespaces", None, name)
            if home is not None and home["metadata"].get("deletionTimestamp"):
                self._mark(name)

    def _mark(self, name: str) -> None:
        self._dirty.add(name)
        self._wake.set()

    async def run(self) -> None:
        """Work on namespaces under deletion until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._dirty = self._dirty, set()
            for name in names:
                try:
                    self._empty(name)
                except ApiError:
                    _log.exception("cannot empty namespace %s", name)

    def _empty(self, name: str) -> None:
        namespace = self.store.get("namespaces", None, name)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        left = False
        for resource in self.store.resources():
            for obj in self.store.list(resource, name):
                if not obj["metadata"].get("deletionTimestamp"):
                    self.store.delete(resource, name, name_of(obj))
                left = left or self.store.get(resource, name, name_of(obj)) is not None
        if not left:
            done = clone(namespace)
            done["spec"]["finalizers"] = []
            self.store.update("namespaces", done)
