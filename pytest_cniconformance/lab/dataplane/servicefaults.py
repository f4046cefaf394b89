# SPDX-License-Identifier: Apache-2.0
"""Faults of Services that all nodes share: what the service proxies see is not what the API says.

Services of the system are spared, so that DNS and the API server stay reachable and the blame is clear.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import family_of, underlay_network
from pytest_cniconformance.lab.dataplane.services import MANAGED_BY, SERVICE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pytest_cniconformance.lab.dataplane.seams import Obj
    from pytest_cniconformance.lab.dataplane.services import Endpoint, ServicePort

SYSTEM_NAMESPACES = frozenset({"kube-system", "default"})
_CONTROLLER = "endpointslice-controller.k8s.io"
_FOR_EVER = 86400


def _on_host(endpoint: Endpoint) -> bool:
    return ip_address(endpoint.ip) in underlay_network(family_of(endpoint.ip))


def _renumbered(port: ServicePort, number: int) -> ServicePort:
    return replace(port, endpoints=tuple(replace(e, port=number) for e in port.endpoints))


_PORT_FAULTS: dict[str, Callable[[ServicePort], ServicePort]] = {
    "affinity-ignored": lambda p: replace(p, affinity_seconds=None),
    "nodeport-missing": lambda p: replace(p, node_port=None),
    "lb-local-ignored": lambda p: replace(p, external_local=False),
    "internal-local-ignored": lambda p: replace(p, internal_local=False),
    "local-applies-inside": lambda p: replace(p, internal_local=p.internal_local or p.external_local),
    "lb-source-ranges-ignored": lambda p: replace(p, source_ranges=()),
    "lb-needs-node-port": lambda p: p if p.node_port else replace(p, load_balancer_ips=()),
    "lb-tcp-only": lambda p: p if p.protocol == "tcp" else replace(p, load_balancer_ips=()),
    "external-ips-ignored": lambda p: replace(p, external_ips=()),
    "service-sticky": lambda p: replace(p, endpoints=p.endpoints[:1]),
    "service-endpoint-unused": lambda p: replace(p, endpoints=p.endpoints[:-1] or p.endpoints),
    "service-target-port-ignored": lambda p: _renumbered(p, p.port),
    "named-port-of-one-pod": lambda p: _renumbered(p, p.endpoints[0].port) if p.endpoints else p,
    "host-backends-left-out": lambda p: replace(
        p, endpoints=tuple(e for e in p.endpoints if not _on_host(e))
    ),
}


class ServiceFaults:
    """Distorts EndpointSlices and compiled ports; remembers what some faults do not let go of."""

    def __init__(self, faults: Collection[str]) -> None:
        self._faults = faults
        self._first: dict[str, tuple[ServicePort, ...]] = {}
        self._last: dict[str, tuple[ServicePort, ...]] = {}
        self._endpoints: dict[tuple[str, str, str], tuple[Endpoint, ...]] = {}

    def slices(self, slices: Iterable[Obj]) -> list[Obj]:
        """Leave out or change slices."""
        found = list(slices)
        if "selectorless-ignored" in self._faults:
            found = [
                one
                for one in found
                if one["metadata"]["namespace"] in SYSTEM_NAMESPACES
                or (one["metadata"].get("labels") or {}).get(MANAGED_BY) == _CONTROLLER
            ]
        if "only-first-slice" in self._faults:
            chosen: dict[tuple[str, ...], Obj] = {}
            for one in sorted(found, key=lambda one: str(one["metadata"]["name"])):
                meta = one["metadata"]
                service = (meta.get("labels") or {}).get(SERVICE_NAME, "")
                chosen.setdefault((meta["namespace"], service, one.get("addressType", "")), one)
            found = list(chosen.values())
        if {"terminating-endpoints-used", "terminating-fallback-missing"} & set(self._faults):
            found = [{**one, "endpoints": self._terminating(one.get("endpoints") or [])} for one in found]
        return found

    def _terminating(self, endpoints: list[Obj]) -> list[Obj]:
        kept = []
        for entry in endpoints:
            conditions = entry.get("conditions") or {}
            if not conditions.get("terminating"):
                kept.append(entry)
            elif "terminating-endpoints-used" in self._faults:
                kept.append({**entry, "conditions": {**conditions, "ready": True}})
        return kept

    def ports(self, services: Iterable[Obj], ports: Sequence[ServicePort]) -> list[ServicePort]:
        """Distort the ports of each Service of the users'."""
        if not self._faults:
            return list(ports)
        found: list[ServicePort] = []
        present: dict[str, tuple[ServicePort, ...]] = {}
        for service in services:
            meta = service["metadata"]
            own = tuple(p for p in ports if (p.namespace, p.name) == (meta["namespace"], meta["name"]))
            if meta["namespace"] in SYSTEM_NAMESPACES:
                found += own
                continue
            uid = str(meta.get("uid", meta["name"]))
            present[uid] = self._distorted(uid, own)
            found += present[uid]
        if {"service-delete-ignored", "lb-announcement-kept"} & set(self._faults):
            taken = {p.cluster_ip for p in found}
            gone = (own for uid, own in self._last.items() if uid not in present)
            found += [p for own in gone for p in own if p.cluster_ip not in taken]
        self._last |= present
        return sorted(found, key=lambda p: (p.family, p.key))

    def _distorted(self, uid: str, own: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
        faults, first = self._faults, self._first.setdefault(uid, own)
        if "service-update-ignored" in faults:
            now = {(p.family, p.key): p.endpoints for p in own}
            own = tuple(replace(p, endpoints=now.get((p.family, p.key), p.endpoints)) for p in first)
        if "affinity-never-expires" in faults and any(p.affinity_seconds for p in (*first, *own)):
            own = tuple(replace(p, affinity_seconds=_FOR_EVER) for p in own)
        if "udp-services-ignored" in faults:
            own = tuple(p for p in own if p.protocol != "udp")
        if "service-protocols-collide" in faults:
            own = tuple({(p.family, p.port): p for p in reversed(own)}.values())
        if "second-family-missing" in faults:
            own = tuple(p for p in own if p.family == first[0].family)
        if "service-first-port-only" in faults:
            own = tuple(replace(p, endpoints=_first_port(p, own).endpoints) for p in own)
        own = tuple(replace(p, endpoints=self._remembered(uid, p)) for p in own)
        for name in _PORT_FAULTS.keys() & set(faults):
            own = tuple(_PORT_FAULTS[name](p) for p in own)
        return own

    def _remembered(self, uid: str, port: ServicePort) -> tuple[Endpoint, ...]:
        key = (uid, port.family, port.key)
        before = self._endpoints.get(key, ())
        found = port.endpoints
        if "endpoint-added-ignored" in self._faults:
            found = before or found
        elif "endpoint-stale" in self._faults:
            found = tuple(sorted({*before, *found}, key=lambda e: (e.ip, e.port)))
        self._endpoints[key] = found
        return found


def _first_port(port: ServicePort, ports: tuple[ServicePort, ...]) -> ServicePort:
    return min((p for p in ports if p.family == port.family), key=lambda p: p.port)
