# SPDX-License-Identifier: Apache-2.0
"""What the names are made from: Services, their endpoints, and (for one fault) pods by address."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Port:
    """A port with its name (may be empty) and protocol in lower case."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Endpoint:
    """One address behind a Service; ``label`` is its host name, or its address with dashes."""

    address: str
    label: str
    ports: tuple[Port, ...]


class Cluster:
    """A thread-safe copy of the objects."""

    def __init__(self, faults: frozenset[str] = frozenset()) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._services: dict[Key, Obj] = {}
        self._slices: dict[Key, Obj] = {}
        self._slices_of: dict[Key, dict[str, Obj]] = {}
        self._pods: dict[Key, tuple[str, ...]] = {}
        self._namespace_of: dict[str, str] = {}

    def replace_services(self, items: list[Obj]) -> None:
        """Take over a list of Services."""
        with self._lock:
            self._services = {_key(item): item for item in items}

    def change_service(self, event: str, item: Obj) -> None:
        """Take over one change of a Service."""
        with self._lock:
            if event == "DELETED" and "dns-records-kept" in self._faults:
                return
            if event == "DELETED":
                self._services.pop(_key(item), None)
            else:
                self._services[_key(item)] = item

    def replace_slices(self, items: list[Obj]) -> None:
        """Take over a list of EndpointSlices."""
        with self._lock:
            self._slices, self._slices_of = {}, {}
            for item in items:
                self._put_slice(item)

    def change_slice(self, event: str, item: Obj) -> None:
        """Take over one change of an EndpointSlice."""
        with self._lock:
            if "dns-headless-stale" in self._faults and (old := self._slices.get(_key(item))):
                left = [
                    entry for entry in old.get("endpoints") or [] if entry not in item.get("endpoints", [])
                ]
                item = {**item, "endpoints": [*(item.get("endpoints") or []), *left]}
            self._drop_slice(_key(item))
            if event != "DELETED":
                self._put_slice(item)

    def _put_slice(self, item: Obj) -> None:
        self._slices[_key(item)] = item
        self._slices_of.setdefault(_owner(item), {})[_key(item)[1]] = item

    def _drop_slice(self, key: Key) -> None:
        old = self._slices.pop(key, None)
        if old is not None:
            self._slices_of.get(_owner(old), {}).pop(key[1], None)

    def replace_pods(self, items: list[Obj]) -> None:
        """Take over a list of Pods."""
        with self._lock:
            self._pods, self._namespace_of = {}, {}
        for item in items:
            self.change_pod("ADDED", item)

    def change_pod(self, event: str, item: Obj) -> None:
        """Take over one change of a Pod; only who has which address matters."""
        key = _key(item)
        status, spec = item.get("status") or {}, item.get("spec") or {}
        gone = event == "DELETED" or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed")
        addresses = () if gone else tuple(entry["ip"] for entry in status.get("podIPs") or [])
        with self._lock:
            for address in self._pods.pop(key, ()):
                if address not in addresses:
                    self._namespace_of.pop(address, None)
            if addresses:
                self._pods[key] = addresses
                self._namespace_of.update(dict.fromkeys(addresses, key[0]))

    def namespace_of(self, address: str) -> str:
        """Return the namespace of the pod with an address, empty if it is no pod's."""
        return self._namespace_of.get(address, "")

    def service(self, namespace: str, name: str) -> Obj | None:
        """Return a Service."""
        return self._services.get((namespace, name))

    def services(self) -> list[tuple[Key, Obj]]:
        """Return all Services by name."""
        with self._lock:
            return sorted(self._services.items(), key=lambda pair: pair[0])

    def has_namespace(self, namespace: str) -> bool:
        """Whether any Service lives there."""
        with self._lock:
            return any(key[0] == namespace for key in self._services)

    def endpoints(self, key: Key) -> list[Endpoint]:
        """Return the endpoints of a Service that have records: those that its slices call ready.

        ``publishNotReadyAddresses`` is for the controller that writes the slices (CoreDNS does not look at it).
        """
        with self._lock:
            slices = list(self._slices_of.get(key, {}).values())
        publish_all = "dns-headless-unready" in self._faults
        found: dict[str, Endpoint] = {}
        for item in slices:
            if item.get("addressType") == "FQDN":
                continue
            ports = tuple(_ports(item.get("ports") or []))
            for entry in item.get("endpoints") or []:
                ready = (entry.get("conditions") or {}).get("ready")
                if ready is False and not publish_all:
                    continue
                # Consumers use the first address only, says the EndpointSlice API.
                for address in (entry.get("addresses") or [])[:1]:
                    known = found[address].ports if address in found else ()
                    hostname = "" if "dns-hostname-missing" in self._faults else entry.get("hostname")
                    label = hostname or dashed(address)
                    found[address] = Endpoint(address, label, (*known, *(p for p in ports if p not in known)))
        return list(found.values())


def service_ports(service: Obj) -> list[Port]:
    """Return the ports of a Service."""
    entries = (service.get("spec") or {}).get("ports") or []
    return [
        Port(str(e.get("name") or ""), str(e.get("protocol") or "TCP").lower(), int(e["port"]))
        for e in entries
    ]


def cluster_ips(service: Obj) -> list[str]:
    """Return the cluster IPs; none for headless Services."""
    spec = service.get("spec") or {}
    found = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in found if address and address != "None"]


def is_headless(service: Obj) -> bool:
    """Whether its name stands for its endpoints."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def external_name(service: Obj) -> str:
    """Return what an ExternalName Service is an alias of, empty for any other."""
    spec = service.get("spec") or {}
    return str(spec.get("externalName") or "") if spec.get("type") == "ExternalName" else ""


def dashed(address: str) -> str:
    """Return an address as a DNS label."""
    text = address if ipaddress.ip_address(address).version == 4 else ipaddress.ip_address(address).compressed
    return text.replace(".", "-").replace(":", "-")


def _ports(entries: list[Obj]) -> Iterator[Port]:
    for entry in entries:
        if entry.get("port"):
            yield Port(
                str(entry.get("name") or ""), str(entry.get("protocol") or "TCP").lower(), int(entry["port"])
            )


def _key(item: Obj) -> Key:
    return item["metadata"].get("namespace") or "default", item["metadata"]["name"]


def _owner(item: Obj) -> Key:
    labels = item["metadata"].get("labels") or {}
    return _key(item)[0], str(labels.get("kubernetes.io/service-name") or "")
