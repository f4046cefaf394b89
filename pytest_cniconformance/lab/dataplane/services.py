# SPDX-License-Identifier: Apache-2.0
"""Services and EndpointSlices, reduced to what a service proxy needs: addresses, ports, endpoints, policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.addressing import IPV6, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One backend of one Service port."""

    ip: str
    port: int
    node: str | None
    zones: tuple[str, ...] = ()
    """The zones whose clients it is meant for (``hints.forZones``)."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one address family."""

    namespace: str
    name: str
    port_name: str
    protocol: str
    port: int
    family: str
    cluster_ip: str
    endpoints: tuple[Endpoint, ...]
    terminating: tuple[Endpoint, ...] = ()
    """Those that still serve: used where no ready one is left, in the cluster or, by a policy, on the node."""
    node_port: int | None = None
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    external_local: bool = False
    internal_local: bool = False
    affinity_seconds: int | None = None
    health_port: int | None = None
    source_ranges: tuple[str, ...] = ()
    """Clients that load balancers are for; empty: all."""

    @property
    def key(self) -> str:
        """``namespace/name/protocol/port``, unique within a family."""
        return f"{self.namespace}/{self.name}/{self.protocol}/{self.port_name or self.port}"

    def local_endpoints(self, node: str) -> tuple[Endpoint, ...]:
        """Those on one node."""
        here = tuple(e for e in self.endpoints if e.node == node)
        return here or tuple(e for e in self.terminating if e.node == node)

    def close_to(self, zone: str) -> tuple[Endpoint, ...]:
        """Those meant for a zone (KEP-4444): all of them if one has no hint, or none is meant for it."""
        if not zone or not all(e.zones for e in self.endpoints):
            return self.endpoints
        return tuple(e for e in self.endpoints if zone in e.zones) or self.endpoints

    def ready_on(self, node: str) -> int:
        """Count the ready endpoints on one node, as its health check tells load balancers."""
        return sum(e.node == node and e not in self.terminating for e in self.endpoints)


def service_ports(services: Iterable[Obj], slices: Iterable[Obj]) -> list[ServicePort]:
    """Join Services with their EndpointSlices. Headless and ExternalName Services have nothing to proxy."""
    by_service: dict[tuple[str, str], list[Obj]] = {}
    for item in slices:
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get(SERVICE_NAME)
        if service:
            by_service.setdefault((meta["namespace"], service), []).append(item)
    ports: list[ServicePort] = []
    for service in services:
        meta = service["metadata"]
        own = by_service.get((meta["namespace"], meta["name"]), [])
        ports += _of_service(service, own)
    return sorted(ports, key=lambda p: (p.family, p.key))


def _of_service(service: Obj, slices: list[Obj]) -> list[ServicePort]:
    spec: dict[str, Any] = service.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    if kind == "ExternalName":
        return []
    affinity = None
    if spec.get("sessionAffinity") == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = int(config.get("timeoutSeconds") or _DEFAULT_AFFINITY_SECONDS)
    status = (service.get("status") or {}).get("loadBalancer") or {}
    balanced = [entry["ip"] for entry in status.get("ingress") or [] if entry.get("ip")]
    exposed = kind in {"NodePort", "LoadBalancer"}
    return [
        ServicePort(
            namespace=service["metadata"]["namespace"],
            name=service["metadata"]["name"],
            port_name=port.get("name") or "",
            protocol=(port.get("protocol") or "TCP").lower(),
            port=int(port["port"]),
            family=family,
            cluster_ip=address,
            endpoints=ready or terminating,
            terminating=terminating,
            node_port=int(port["nodePort"]) if exposed and port.get("nodePort") else None,
            external_ips=tuple(ip for ip in spec.get("externalIPs") or [] if family_of(ip) == family),
            load_balancer_ips=tuple(ip for ip in balanced if family_of(ip) == family),
            external_local=spec.get("externalTrafficPolicy") == "Local",
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            affinity_seconds=affinity,
            health_port=spec.get("healthCheckNodePort"),
            source_ranges=tuple(
                text for text in spec.get("loadBalancerSourceRanges") or [] if family_of(text) == family
            ),
        )
        for address in addresses
        if address not in {"None", ""}
        for family in (family_of(address),)
        for port in spec.get("ports") or []
        for ready, terminating in (_endpoints(slices, port, family),)
    ]


def _endpoints(
    slices: list[Obj], port: dict[str, Any], family: str
) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Ready endpoints, and terminating ones that still serve (KEP-1669)."""
    wanted_type = "IPv6" if family == IPV6 else "IPv4"
    wanted = (port.get("name") or "", port.get("protocol") or "TCP")
    ready: set[Endpoint] = set()
    serving: set[Endpoint] = set()
    for item in slices:
        if item.get("addressType", "IPv4") != wanted_type:
            continue
        # A named targetPort may stand for different numbers in different pods: each slice has its own.
        numbers = [
            p["port"]
            for p in item.get("ports") or []
            if (p.get("name") or "", p.get("protocol") or "TCP") == wanted and p.get("port")
        ]
        for entry in item.get("endpoints") or []:
            conditions = entry.get("conditions") or {}
            zones = tuple(zone["name"] for zone in (entry.get("hints") or {}).get("forZones") or [])
            found = {
                Endpoint(ip, int(number), entry.get("nodeName"), zones)
                for ip in (entry.get("addresses") or [])[:1]
                for number in numbers
            }
            if conditions.get("ready", True) is not False:
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= found
    return tuple(sorted(ready, key=_address)), tuple(sorted(serving, key=_address))


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.ip, endpoint.port
