# SPDX-License-Identifier: Apache-2.0
"""Services and EndpointSlices, reduced to what a service proxy needs: addresses, ports, endpoints, policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.addressing import IPV6, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj

_SERVICE_NAME = "kubernetes.io/service-name"
_DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One backend of one Service port."""

    ip: str
    port: int
    node: str | None


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
    node_port: int | None = None
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    external_local: bool = False
    internal_local: bool = False
    affinity_seconds: int | None = None

    @property
    def key(self) -> str:
        """``namespace/name/protocol/port``, unique within a family."""
        return f"{self.namespace}/{self.name}/{self.protocol}/{self.port_name or self.port}"

    def local_endpoints(self, node: str) -> tuple[Endpoint, ...]:
        """Those on one node."""
        return tuple(e for e in self.endpoints if e.node == node)


def service_ports(services: Iterable[Obj], slices: Iterable[Obj]) -> list[ServicePort]:
    """Join Services with their EndpointSlices. Headless and ExternalName Services have nothing to proxy."""
    by_service: dict[tuple[str, str], list[Obj]] = {}
    for item in slices:
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get(_SERVICE_NAME)
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
            endpoints=_endpoints(slices, port, family),
            node_port=int(port["nodePort"]) if exposed and port.get("nodePort") else None,
            external_ips=tuple(ip for ip in spec.get("externalIPs") or [] if family_of(ip) == family),
            load_balancer_ips=tuple(ip for ip in balanced if family_of(ip) == family),
            external_local=spec.get("externalTrafficPolicy") == "Local",
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            affinity_seconds=affinity,
        )
        for address in addresses
        if address not in {"None", ""}
        for family in (family_of(address),)
        for port in spec.get("ports") or []
    ]


def _endpoints(slices: list[Obj], port: dict[str, Any], family: str) -> tuple[Endpoint, ...]:
    """Ready endpoints; failing those, terminating ones that still serve (KEP-1669)."""
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
            found = {
                Endpoint(ip, int(number), entry.get("nodeName"))
                for ip in (entry.get("addresses") or [])[:1]
                for number in numbers
            }
            if conditions.get("ready", True) is not False:
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= found
    return tuple(sorted(ready or serving, key=lambda e: (e.ip, e.port)))


def udp_flows(ports: Iterable[ServicePort]) -> set[tuple[str, int, str, int]]:
    """Give (service address, port, endpoint address, endpoint port) of every UDP path.

    Conntrack remembers them longer than they are right. A Service without endpoints has the endpoint ``("", 0)``.
    """
    flows: set[tuple[str, int, str, int]] = set()
    for port in ports:
        if port.protocol != "udp":
            continue
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            flows |= {(address, port.port, e.ip, e.port) for e in port.endpoints} or {
                (address, port.port, "", 0)
            }
    return flows
