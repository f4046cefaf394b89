# SPDX-License-Identifier: Apache-2.0
"""Cluster IPs and node ports of Services: given out at creation, taken back with the object."""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.errors import Cause
from pytest_cniconformance.lab.api.objects import key_of
from pytest_cniconformance.lab.api.validation.collector import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

SERVICE_CIDRS = {"IPv4": "10.96.0.0/16", "IPv6": "fd00:10:96::/112"}
NODE_PORTS = range(30000, 32768)
_INVALID = "FieldValueInvalid"
_NOT_IN_RANGE = "not in the valid range. The range of valid"


class Refused(Exception):
    """An address or a port cannot be given out; holds the field error."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class ServiceAddresses:
    """Gives Services their addresses. What is taken is read from the store, so nothing can leak."""

    def __init__(self, store: Store, families: Iterable[str], cidrs: Mapping[str, str]) -> None:
        self._store = store
        self._families = list(families)  # IPv4, IPv6: the cluster's, the preferred one first
        self._networks = {family: ipaddress.ip_network(cidrs[family]) for family in self._families}
        self._random = random.Random()

    def assign(self, service: Obj, old: Obj | None = None) -> None:
        """Give a Service, in place, what its type needs; raises ``Refused``.

        On an update the values of ``old`` are kept where the new object leaves them out.
        """
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
        else:
            self._keep(spec, (old or {}).get("spec", {}))
            self._set_families(spec)
            self._set_cluster_ips(service)
        self._set_node_ports(service, old)

    def _keep(self, spec: Obj, before: Obj) -> None:
        if before.get("type") in (None, "ExternalName"):
            return
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if field in before and not spec.get(field):
                spec[field] = before[field]

    def _set_families(self, spec: Obj) -> None:
        families: list[str] = spec.get("ipFamilies") or []
        policy = spec.get("ipFamilyPolicy")
        given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        dual = len(self._families) > 1
        for index, family in enumerate(families):
            if family not in self._families:
                raise Refused(
                    Cause(
                        f"spec.ipFamilies[{index}]",
                        _INVALID,
                        f"Invalid value: {shown(family)}: not configured on this cluster",
                    )
                )
        if policy == "RequireDualStack" and not dual:
            text = f"Invalid value: {shown(policy)}: this cluster is not configured for dual-stack services"
            raise Refused(Cause("spec.ipFamilyPolicy", _INVALID, text))
        if not families and given and given[0] != "None":
            families = [f"IPv{ipaddress.ip_address(address).version}" for address in given]
        families = list(families) or [self._families[0]]
        if policy is None:
            policy = "RequireDualStack" if len(families) > 1 else "SingleStack"
        if dual and policy != "SingleStack" and len(families) == 1:
            families.append(next(family for family in self._families if family != families[0]))
        spec["ipFamilies"] = families[:1] if policy == "SingleStack" else families
        spec["ipFamilyPolicy"] = policy

    def _set_cluster_ips(self, service: Obj) -> None:
        spec = service["spec"]
        given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        if given and given[0] == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        taken = {
            address
            for other in self._store.list("services")
            if key_of(other) != key_of(service)
            for address in other["spec"].get("clusterIPs", ())
        }
        addresses = given[: len(spec["ipFamilies"])]
        for index, family in enumerate(spec["ipFamilies"]):
            network = self._networks[family]
            if index < len(addresses):
                self._check(addresses[index], network, taken, addresses)
            else:
                addresses.append(self._free(network, taken))
        spec["clusterIP"], spec["clusterIPs"] = addresses[0], addresses

    def _check(
        self,
        address: str,
        network: ipaddress.IPv4Network | ipaddress.IPv6Network,
        taken: set[str],
        given: list[str],
    ) -> None:
        why = ""
        if ipaddress.ip_address(address) not in network:
            why = f"the provided IP ({address}) is {_NOT_IN_RANGE} IPs is {network}"
        elif address in taken:
            why = "provided IP is already allocated"
        if why:
            text = f"Invalid value: {shown(given)}: failed to allocate IP {address}: {why}"
            raise Refused(Cause("spec.clusterIPs", _INVALID, text))

    def _free(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: set[str]) -> str:
        # The low part of the range is left to addresses that people choose (the DNS Service), as upstream does.
        first = min(256, network.num_addresses // 16)
        while True:
            address = str(network[self._random.randrange(first, network.num_addresses - 1)])
            if address not in taken:
                return address

    def _set_node_ports(self, service: Obj, old: Obj | None) -> None:
        spec = service["spec"]
        ports = spec.get("ports") or []
        wanted = spec["type"] == "NodePort" or (
            spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
        )
        check = spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
        if not check:
            spec.pop("healthCheckNodePort", None)
        if not wanted and spec["type"] != "LoadBalancer":
            for port in ports:
                port.pop("nodePort", None)
        before = (old or {}).get("spec", {})
        kept = {(port["protocol"], port["port"]): port.get("nodePort") for port in before.get("ports") or ()}
        taken = self._taken_ports(service)
        for index, port in enumerate(ports):
            if wanted and not port.get("nodePort"):
                port["nodePort"] = kept.get((port["protocol"], port["port"])) or 0
            if port.get("nodePort"):
                self._check_port(port["nodePort"], port["protocol"], taken, f"spec.ports[{index}].nodePort")
        for port in ports:
            if wanted and not port.get("nodePort"):
                port["nodePort"] = self._free_port(port["protocol"], taken)
            elif not port.get("nodePort"):
                port.pop("nodePort", None)
            if port.get("nodePort"):
                taken.add((port["protocol"], port["nodePort"]))
        if check and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = before.get("healthCheckNodePort") or self._free_port("TCP", taken)

    def _taken_ports(self, service: Obj) -> set[tuple[str, int]]:
        taken: set[tuple[str, int]] = set()
        for other in self._store.list("services"):
            if key_of(other) == key_of(service):
                continue
            for port in other["spec"].get("ports") or ():
                if port.get("nodePort"):
                    taken.add((port["protocol"], port["nodePort"]))
            if other["spec"].get("healthCheckNodePort"):
                taken.add(("TCP", other["spec"]["healthCheckNodePort"]))
        return taken

    def _check_port(self, port: int, protocol: str, taken: set[tuple[str, int]], at: str) -> None:
        why = ""
        if port not in NODE_PORTS:
            why = f"provided port is {_NOT_IN_RANGE} ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
        elif (protocol, port) in taken:
            why = "provided port is already allocated"
        if why:
            raise Refused(Cause(at, _INVALID, f"Invalid value: {port}: {why}"))

    def _free_port(self, protocol: str, taken: set[tuple[str, int]]) -> int:
        free = [port for port in NODE_PORTS if (protocol, port) not in taken]
        if not free:
            raise Refused(Cause("spec.ports[0].nodePort", _INVALID, "Invalid value: 0: range is full"))
        return self._random.choice(free)
