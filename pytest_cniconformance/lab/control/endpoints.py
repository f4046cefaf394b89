# SPDX-License-Identifier: Apache-2.0
"""EndpointSlices and Endpoints of Services with a selector."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.admission import random_suffix
from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of, owner_reference
from pytest_cniconformance.lab.control.backends import (
    Backend,
    PortKey,
    address_of,
    backends,
    endpoint,
    own_hostname,
    target_reference,
)
from pytest_cniconformance.lab.control.base import Controller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event, Store

SLICES = "endpointslices.discovery.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
PER_SLICE = 100
_ZONE = "topology.kubernetes.io/zone"


class EndpointsController(Controller):
    """Keeps the endpoints of each Service those of its pods."""

    resources = ("services", "pods", SLICES, "endpoints")

    def __init__(self, store: Store, faults: frozenset[str] = frozenset()) -> None:
        super().__init__(store)
        self._faults = faults

    def react(self, events: Sequence[Event]) -> None:
        """Bring the endpoints of all concerned Services up to date."""
        for namespace, name in self._concerned(events):
            home = self.store.get("namespaces", None, namespace)
            if home is None or home["metadata"].get("deletionTimestamp"):
                continue
            service = self.store.get("services", namespace, name)
            if service is None:
                self._clean_up(namespace, name)
            elif service["spec"].get("selector") and service["spec"]["type"] != "ExternalName":
                self._reconcile(service)

    def _concerned(self, events: Sequence[Event]) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        pods: dict[str, list[Obj]] = {}
        for event in events:
            namespace = namespace_of(event.object)
            if event.resource in ("services", "endpoints"):
                found.add((namespace, name_of(event.object)))
            elif event.resource == SLICES:
                labels = event.object["metadata"].get("labels") or {}
                if labels.get(MANAGED_BY) == CONTROLLER:
                    found.add((namespace, labels.get(SERVICE_NAME, "")))
            else:
                states = [one for one in (event.object, event.old) if one is not None]
                pods.setdefault(namespace, []).extend(states)
        for namespace, states in pods.items():
            for service in self.store.list("services", namespace):
                selector = (service["spec"].get("selector") or {}).items()
                if selector and any(
                    selector <= (pod["metadata"].get("labels") or {}).items() for pod in states
                ):
                    found.add((namespace, name_of(service)))
        return found

    def _clean_up(self, namespace: str, name: str) -> None:
        mirror = self.store.get("endpoints", namespace, name)
        if (
            mirror is not None
            and (mirror["metadata"].get("labels") or {}).get(_MIRROR_MARK[0]) == _MIRROR_MARK[1]
        ):
            self.store.delete("endpoints", namespace, name)

    def _reconcile(self, service: Obj) -> None:
        namespace = namespace_of(service)
        found = backends(service, self.store.list("pods", namespace), self._faults)
        present = [
            one
            for one in self.store.list(SLICES, namespace)
            if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == name_of(service)
            and one["metadata"]["labels"].get(MANAGED_BY) == CONTROLLER
        ]
        for family in service["spec"].get("ipFamilies") or ("IPv4",):
            mine = [one for one in present if one["addressType"] == family]
            self._write_slices(service, family, found, mine)
        families = service["spec"].get("ipFamilies") or ("IPv4",)
        for stale in [one for one in present if one["addressType"] not in families]:
            self.store.delete(SLICES, namespace, name_of(stale))
        self._write_mirror(service, found, families[0])

    def _write_slices(self, service: Obj, family: str, found: list[Backend], present: list[Obj]) -> None:
        wanted = self._wanted(service, family, found)
        # A slice of the same ports is changed rather than replaced, so that watchers see one update.
        free = sorted(present, key=lambda one: _port_list(wanted[0][0]) != one.get("ports"))
        for ports, entries in wanted:
            same = next((one for one in free if one.get("ports") == _port_list(ports)), None)
            current = same or (free[0] if free and len(free) >= len(wanted) else None)
            if current is None:
                self._create_slice(service, family, ports, entries)
                continue
            free.remove(current)
            metadata = {**current["metadata"], "labels": _labels(service)}
            changed = {**current, "metadata": metadata, "endpoints": entries, "ports": _port_list(ports)}
            self.store.update(SLICES, changed)
        for stale in free:
            self.store.delete(SLICES, namespace_of(stale), name_of(stale))

    def _wanted(self, service: Obj, family: str, found: list[Backend]) -> list[tuple[PortKey, list[Obj]]]:
        groups: dict[PortKey, list[Obj]] = {}
        for backend in found:
            if address := address_of(backend.pod, family):
                entry = endpoint(backend, address, service, self._zone(backend.pod))
                groups.setdefault(backend.ports, []).append(entry)
        if "endpoints-include-dead" in self._faults:
            for entries in groups.values():
                entries.append(_dead(entries[-1]))
        chunks = [
            (ports, entries[start : start + PER_SLICE])
            for ports, entries in groups.items()
            for start in range(0, len(entries), PER_SLICE)
        ]
        return chunks or [((), [])]

    def _zone(self, pod: Obj) -> str:
        node = self.store.get("nodes", None, pod["spec"].get("nodeName", ""))
        return str(((node or {}).get("metadata", {}).get("labels") or {}).get(_ZONE, ""))

    def _create_slice(self, service: Obj, family: str, ports: PortKey, entries: list[Obj]) -> None:
        name = f"{name_of(service)}-{random_suffix()}"
        self.store.create(
            SLICES,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "generateName": f"{name_of(service)}-",
                    "namespace": namespace_of(service),
                    "labels": _labels(service),
                    "ownerReferences": [owner_reference(service)],
                },
                "addressType": family,
                "endpoints": entries,
                "ports": _port_list(ports),
            },
        )

    def _write_mirror(self, service: Obj, found: list[Backend], family: str) -> None:
        name, namespace = name_of(service), namespace_of(service)
        labels = dict(service["metadata"].get("labels") or {}) | {_MIRROR_MARK[0]: _MIRROR_MARK[1]}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        present = self.store.get("endpoints", namespace, name)
        mirror: Obj = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
        }
        if subsets := _subsets(service, found, family):
            mirror["subsets"] = subsets
        if present is None:
            self.store.create("endpoints", mirror)
        elif _MIRROR_MARK[0] in (present["metadata"].get("labels") or {}) or not present.get("subsets"):
            mirror["metadata"] = {**present["metadata"], "labels": labels}
            self.store.update("endpoints", mirror)


_MIRROR_MARK = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")


def _labels(service: Obj) -> dict[str, str]:
    labels = dict(service["metadata"].get("labels") or {})
    labels |= {SERVICE_NAME: name_of(service), MANAGED_BY: CONTROLLER}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return labels


def _port_list(ports: PortKey) -> list[Obj]:
    entries = []
    for name, protocol, number, app_protocol in ports:
        entry: Obj = {"name": name, "protocol": protocol, "port": number}
        if app_protocol:
            entry["appProtocol"] = app_protocol
        entries.append(entry)
    return entries


def _dead(alive: Obj) -> Obj:
    """Return an endpoint that looks alive at an address near a real one that no pod has."""
    address = ipaddress.ip_address(alive["addresses"][0])
    unused = ipaddress.ip_address(int(address) // 256 * 256 + 253)
    return {
        "addresses": [str(unused)],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": alive["nodeName"],
        "targetRef": {**alive["targetRef"], "name": "gone", "uid": "00000000-0000-4000-8000-0000000000fd"},
    }


def _subsets(service: Obj, found: list[Backend], family: str) -> list[Obj]:
    groups: dict[PortKey, dict[str, list[Obj]]] = {}
    for backend in found:
        address = address_of(backend.pod, family)
        if address is None or (backend.terminating and not backend.ready):
            continue
        entry: Obj = {
            "ip": address,
            "nodeName": backend.pod["spec"].get("nodeName", ""),
            "targetRef": target_reference(backend.pod),
        }
        if hostname := own_hostname(backend.pod, service):
            entry["hostname"] = hostname
        state = "addresses" if backend.ready else "notReadyAddresses"
        groups.setdefault(backend.ports, {}).setdefault(state, []).append(entry)
    return [
        {**{state: sorted(entries, key=lambda one: one["ip"]) for state, entries in states.items()}}
        | ({"ports": _port_list(ports)} if ports else {})
        for ports, states in groups.items()
    ]
