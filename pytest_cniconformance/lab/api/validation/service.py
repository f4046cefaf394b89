# SPDX-License-Identifier: Apache-2.0
"""Service: types, ports, addresses and traffic policies; and what is immutable."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.validation.networkpolicy import PROTOCOLS, parse_cidr

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")


def validate_service(obj: Obj, collector: Collector) -> None:
    """Check a Service (before addresses are allocated)."""
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and kind != "ExternalName":
        collector.required("spec.ports")
    if kind not in TYPES:
        collector.unsupported("spec.type", kind, TYPES)
    if kind == "ExternalName":
        if spec.get("clusterIP"):
            collector.forbidden("spec.clusterIPs[0]", "may not be specified when `type` is ExternalName")
        if not spec.get("externalName"):
            collector.required("spec.externalName")
        else:
            collector.dns_subdomain("spec.externalName", str(spec["externalName"]).rstrip("."))
    if headless and kind in ("NodePort", "LoadBalancer"):
        collector.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    collector.labels("spec.selector", spec.get("selector") or {})
    _ports(spec, collector)
    _policies(spec, collector)
    _addresses(spec, collector)


def _ports(spec: Obj, collector: Collector) -> None:
    ports = spec.get("ports") or []
    names: set[str] = set()
    pairs: set[tuple[str, Any]] = set()
    node_ports: set[tuple[str, Any]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            collector.required(f"{at}.name")
        elif name:
            collector.dns_label(f"{at}.name", name)
            if name in names:
                collector.duplicate(f"{at}.name", name)
            names.add(name)
        collector.port_number(f"{at}.port", port.get("port", 0))
        protocol = port.get("protocol")
        if not protocol:
            collector.required(f"{at}.protocol")
        elif protocol not in PROTOCOLS:
            collector.unsupported(f"{at}.protocol", protocol, PROTOCOLS)
        target = port.get("targetPort")
        if isinstance(target, int):
            collector.port_number(f"{at}.targetPort", target)
        elif isinstance(target, str):
            collector.port_name(f"{at}.targetPort", target)
        if port.get("nodePort") and spec.get("type") in ("ClusterIP", "ExternalName"):
            collector.forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
        pair = (str(protocol), port.get("port"))
        if pair in pairs:
            collector.duplicate(at, {"protocol": protocol, "port": port.get("port")})
        pairs.add(pair)
        if port.get("nodePort"):
            taken = (str(protocol), port["nodePort"])
            if taken in node_ports:
                collector.duplicate(f"{at}.nodePort", port["nodePort"])
            node_ports.add(taken)


def _policies(spec: Obj, collector: Collector) -> None:
    if (affinity := spec.get("sessionAffinity")) not in ("ClientIP", "None"):
        collector.unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    elif affinity == "ClientIP":
        seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        if not 0 < seconds <= 86400:
            collector.invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                seconds,
                "must be greater than 0 and less than 86400",
            )
    external = spec.get("externalTrafficPolicy")
    if external is not None:
        if spec.get("type") not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
            collector.invalid(
                "spec.externalTrafficPolicy", external, "may only be set for externally-accessible services"
            )
        elif external not in _POLICIES:
            collector.unsupported("spec.externalTrafficPolicy", external, _POLICIES)
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in _POLICIES:
        collector.unsupported("spec.internalTrafficPolicy", internal, _POLICIES)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        collector.unsupported("spec.trafficDistribution", distribution, ("PreferClose",))
    check = spec.get("healthCheckNodePort")
    if check and not (spec.get("type") == "LoadBalancer" and external == "Local"):
        collector.invalid(
            "spec.healthCheckNodePort",
            check,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    ranges = spec.get("loadBalancerSourceRanges")
    if ranges and spec.get("type") != "LoadBalancer":
        collector.forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
    for index, text in enumerate(ranges or ()):
        if parse_cidr(str(text).strip()) is None:
            collector.invalid(
                f"spec.loadBalancerSourceRanges[{index}]",
                text,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            )


def _addresses(spec: Obj, collector: Collector) -> None:
    if (policy := spec.get("ipFamilyPolicy")) is not None and policy not in _FAMILY_POLICIES:
        collector.unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            collector.unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        elif family in families[:index]:
            collector.duplicate(f"spec.ipFamilies[{index}]", family)
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    for index, address in enumerate(addresses):
        if address != "None" and _parse(address) is None:
            collector.invalid(
                f"spec.clusterIPs[{index}]",
                address,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            )
    for index, address in enumerate(spec.get("externalIPs") or ()):
        parsed = _parse(address)
        if parsed is None:
            collector.invalid(
                f"spec.externalIPs[{index}]",
                address,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            )
        elif parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local or parsed.is_multicast:
            kinds = {
                "is_unspecified": "unspecified",
                "is_loopback": "in the loopback range (127.0.0.0/8, ::1/128)",
            }
            for attribute, text in kinds.items():
                if getattr(parsed, attribute):
                    collector.invalid(f"spec.externalIPs[{index}]", address, f"may not be {text}")


def _parse(text: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


def validate_service_update(obj: Obj, old: Obj, collector: Collector) -> None:
    """Check what is immutable: the first cluster IP while the type needs one."""
    new, before = obj["spec"], old["spec"]
    if "ExternalName" in (new.get("type"), before.get("type")):
        return
    if before.get("clusterIP") and new.get("clusterIP") != before["clusterIP"]:
        collector.invalid("spec.clusterIPs[0]", new.get("clusterIP"), "may not change once set")
    if (
        new.get("type") == before.get("type") == "LoadBalancer"
        and before.get("loadBalancerClass") is not None
        and new.get("loadBalancerClass") != before.get("loadBalancerClass")
    ):
        collector.invalid("spec.loadBalancerClass", new.get("loadBalancerClass"), "may not change once set")
    if new.get("loadBalancerClass") and new.get("type") != "LoadBalancer":
        collector.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
