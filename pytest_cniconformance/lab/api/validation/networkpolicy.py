# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: peers, ports, address blocks, policy types."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.validation.collector import Collector

PROTOCOLS = ("TCP", "UDP", "SCTP")
_SELECTORS = ("podSelector", "namespaceSelector")
_CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_STRICT_SUBSET = "must be a strict subset of `cidr`"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def validate_network_policy(obj: Obj, collector: Collector) -> None:
    """Check a NetworkPolicy."""
    spec = obj.get("spec") or {}
    collector.label_selector("spec.podSelector", spec.get("podSelector") or {})
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{number}]"
            for index, port in enumerate(rule.get("ports") or ()):
                _port(port, f"{at}.ports[{index}]", collector)
            for index, peer in enumerate(rule.get(peers) or ()):
                _peer(peer, f"{at}.{peers}[{index}]", collector)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        collector.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(types):
        if kind not in ("Ingress", "Egress"):
            collector.unsupported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _port(port: Obj, at: str, collector: Collector) -> None:
    if (protocol := port.get("protocol")) is not None and protocol not in PROTOCOLS:
        collector.unsupported(f"{at}.protocol", protocol, PROTOCOLS)
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int):
        collector.port_number(f"{at}.port", number)
        if end is not None:
            if end < number:
                collector.invalid(f"{at}.endPort", end, "must be greater than or equal to `port`")
            collector.port_number(f"{at}.endPort", end)
    elif isinstance(number, str):
        if end is not None:
            collector.invalid(f"{at}.endPort", end, "may not be specified when `port` is non-numeric")
        collector.port_name(f"{at}.port", number)
    elif end is not None:
        collector.invalid(f"{at}.endPort", end, "may not be specified when `port` is not specified")


def _peer(peer: Obj, at: str, collector: Collector) -> None:
    selectors = [name for name in _SELECTORS if peer.get(name) is not None]
    for name in selectors:
        collector.label_selector(f"{at}.{name}", peer[name])
    block = peer.get("ipBlock")
    if block is not None:
        _block(block, f"{at}.ipBlock", collector)
    if not selectors and block is None:
        collector.required(at, "must specify a peer")
    elif selectors and block is not None:
        collector.forbidden(at, "may not specify both ipBlock and another peer")


def _block(block: Obj, at: str, collector: Collector) -> None:
    if not block.get("cidr"):
        collector.required(f"{at}.cidr")
        return
    whole = parse_cidr(block["cidr"])
    if whole is None:
        collector.invalid(f"{at}.cidr", block["cidr"], _CIDR_TEXT)
        return
    for index, text in enumerate(block.get("except") or ()):
        part = parse_cidr(text)
        where = f"{at}.except[{index}]"
        if part is None:
            collector.invalid(where, text, _CIDR_TEXT)
        elif not _strictly_within(part, whole):
            collector.invalid(where, text, _STRICT_SUBSET)


def parse_cidr(text: Any) -> Network | None:
    """Return the network of a CIDR as the API reads it (host bits may be set), None when it is not one."""
    try:
        if "/" not in str(text):
            return None
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _strictly_within(part: Network, whole: Network) -> bool:
    if part.version != whole.version or part.prefixlen <= whole.prefixlen:
        return False
    return part.network_address in whole
