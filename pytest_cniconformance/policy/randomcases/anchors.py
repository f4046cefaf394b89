# SPDX-License-Identifier: Apache-2.0
"""Address blocks that are written before any address is known: around a pod, around the address outside, or everything."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_cniconformance.policy.objects import NAME_LABEL

ANY, OUTSIDE = "any", "outside"
OUTSIDE_PORT = "$port"
"""Stands for the TCP port of the address outside."""

_V6_LENGTHS = {0: 0, 8: 16, 16: 48, 24: 64, 32: 128}


def block(anchor: str, length: int, family: int = 0, *, beside: bool = False) -> str:
    """Return the unresolved CIDR of the ``length`` (0, 8, 16, 24 or 32) bits around an anchor.

    ``beside`` it is the block that differs in its last bit: one bit less, and the anchor would be in it.
    """
    return f"${anchor}#{length}#{family}#{int(beside)}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a cluster knows and a case does not: its families, and addresses by family of pods and outside."""

    families: tuple[str, ...] = ("ipv4",)
    pods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    outside_port: int = 443

    def resolve(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Return the policy with CIDRs in the place of blocks around anchors."""
        return {**policy, "spec": self._walk(policy["spec"])}

    def _walk(self, value: Any) -> Any:
        if value == OUTSIDE_PORT:
            return self.outside_port
        if isinstance(value, str) and value.startswith("$"):
            return self._cidr(value)
        if isinstance(value, list | tuple):
            return [self._walk(item) for item in value]
        if isinstance(value, Mapping):
            return {name: self._walk(child) for name, child in value.items()}
        return value

    def _cidr(self, text: str) -> str:
        anchor, length, number, beside = text[1:].split("#")
        family = self.families[int(number) % len(self.families)]
        bits = _V6_LENGTHS[int(length)] if family == "ipv6" else int(length)
        unknown = "2001:db8::1" if family == "ipv6" else "192.0.2.1"  # for documentation: nobody is there
        known = self.outside if anchor == OUTSIDE else self.pods.get(anchor, {})
        network = ipaddress.ip_network((known.get(family, unknown), bits), strict=False)
        if beside == "1":
            last_bit = 1 << (network.max_prefixlen - bits)
            network = ipaddress.ip_network((int(network.network_address) ^ last_bit, bits))
        return str(network)


def renamed(spec: Any, names: Mapping[str, str]) -> Any:
    """Return a policy's spec with other values for the automatic label of namespaces."""
    if isinstance(spec, list | tuple):
        return [renamed(item, names) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    made = {key: renamed(child, names) for key, child in spec.items()}
    if NAME_LABEL in made:
        made[NAME_LABEL] = names.get(made[NAME_LABEL], made[NAME_LABEL])
    if made.get("key") == NAME_LABEL and made.get("values"):
        made["values"] = [names.get(value, value) for value in made["values"]]
    return made
