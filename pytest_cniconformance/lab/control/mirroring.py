# SPDX-License-Identifier: Apache-2.0
"""EndpointSlices for Endpoints that people wrote by hand: those of Services without a selector."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.admission import random_suffix
from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of, owner_reference
from pytest_cniconformance.lab.control.base import Controller
from pytest_cniconformance.lab.control.endpoints import MANAGED_BY, SERVICE_NAME, SLICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
_SKIP = ("endpointslice.kubernetes.io/skip-mirror", "endpoints.kubernetes.io/managed-by")


class EndpointsMirror(Controller):
    """Writes one slice for each subset and address family of a hand-made Endpoints object."""

    resources = ("endpoints", "services")

    def react(self, events: Sequence[Event]) -> None:
        """Bring the mirrored slices of the named Endpoints up to date."""
        for namespace, name in {(namespace_of(event.object), name_of(event.object)) for event in events}:
            home = self.store.get("namespaces", None, namespace)
            if home is None or home["metadata"].get("deletionTimestamp"):
                continue
            source = self.store.get("endpoints", namespace, name)
            service = self.store.get("services", namespace, name)
            by_hand = source is not None and not any(
                key in (source["metadata"].get("labels") or {}) for key in _SKIP
            )
            wanted = []
            if source is not None and service is not None and by_hand and not service["spec"].get("selector"):
                wanted = _slices(source)
            self._write(namespace, name, source, wanted)

    def _write(self, namespace: str, name: str, source: Obj | None, wanted: list[Obj]) -> None:
        present = [
            one
            for one in self.store.list(SLICES, namespace)
            if (one["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER
            and one["metadata"]["labels"].get(SERVICE_NAME) == name
        ]
        for content in wanted:
            assert source is not None
            same = next((one for one in present if one["addressType"] == content["addressType"]), None)
            if same is not None:
                present.remove(same)
                self.store.update(SLICES, {**same, **content})
                continue
            metadata = {
                "name": f"{name}-{random_suffix()}",
                "namespace": namespace,
                "labels": {SERVICE_NAME: name, MANAGED_BY: CONTROLLER},
                "ownerReferences": [owner_reference(source)],
            }
            head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
            self.store.create(SLICES, {**head, **content})
        for stale in present:
            self.store.delete(SLICES, namespace, name_of(stale))


def _slices(source: Obj) -> list[Obj]:
    found: list[Obj] = []
    for subset in source.get("subsets") or ():
        by_family: dict[str, list[Obj]] = {}
        for state, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(state) or ():
                entry: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
                for field in ("hostname", "nodeName", "targetRef"):
                    if field in address:
                        entry[field] = address[field]
                by_family.setdefault(f"IPv{ipaddress.ip_address(address['ip']).version}", []).append(entry)
        ports = [{"name": "", **port} for port in subset.get("ports") or ()]
        found += [
            {"addressType": family, "endpoints": entries, "ports": ports}
            for family, entries in by_family.items()
        ]
    return found
