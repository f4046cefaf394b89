# SPDX-License-Identifier: Apache-2.0
"""One random case: the pods that take part, and the labels and policies that hold one after the other.

A case says nothing that only a cluster knows, so that one seed draws the same cases everywhere: address blocks
are written around anchors (:data:`ANY`, :data:`OUTSIDE`, a pod) and become CIDRs when the addresses are known.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_cniconformance.policy.objects import NAME_LABEL, Obj

POOL = ("x/a", "x/b", "y/a", "x/c", "y/b", "z/a")
"""The pods that a case may use, simplest first."""

TCP_PORTS, UDP_PORTS = (80, 81, 82), (80, 81)

PORT_NAMES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    pod: {
        "web": ((80, 81, 80, 82, 81, 80)[i], "TCP"),
        "dns": ((80, 80, 81, 81, 81, 80)[i], "UDP"),
    }
    for i, pod in enumerate(POOL)
}
"""Named container ports by pod: one name stands for different numbers on different pods."""

ANY, OUTSIDE = "any", "outside"

_V6_LENGTHS = {0: 0, 8: 16, 16: 48, 24: 64, 32: 128}


@dataclass(frozen=True, slots=True)
class Stage:
    """Labels and policies that hold at one time. Policies are unresolved objects, with logical namespaces."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Mapping[str, Mapping[str, str]]
    policies: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: ``stages`` follow one another by update, and after the last all policies are deleted.

    ``outside`` adds an address outside the cluster as a destination.
    """

    stages: tuple[Stage, ...]
    outside: bool = False

    @property
    def pods(self) -> tuple[str, ...]:
        """The pods that take part."""
        return tuple(self.stages[0].pods)

    @property
    def policies(self) -> int:
        """How many policies a reader has to look at: those of the fullest stage."""
        return max(len(stage.policies) for stage in self.stages)

    @property
    def key(self) -> str:
        """The same text for the same case."""
        stages = [[stage.namespaces, stage.pods, stage.policies] for stage in self.stages]
        return json.dumps([stages, self.outside], sort_keys=True)

    @property
    def size(self) -> tuple[int, ...]:
        """What a reader wants least of, most important first; smaller is better."""
        return (len(self.stages), self.policies, len(self.pods), len(self.key))


def block(anchor: str, length: int, family: int = 0) -> str:
    """Return the unresolved CIDR of the ``length`` (0, 8, 16, 24 or 32) bits around an anchor."""
    return f"${anchor}#{length}#{family}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a cluster knows and a case does not: addresses by family, and the real names of namespaces."""

    families: tuple[str, ...]
    pods: Mapping[str, Mapping[str, str]]
    outside: Mapping[str, str]
    namespaces: Mapping[str, str]

    def resolve(self, policy: Mapping[str, Any], *, real_names: bool = True) -> dict[str, Any]:
        """Return the policy with CIDRs for anchors, and with ``real_names`` for the label of namespaces' names.

        ``metadata.namespace`` stays logical.
        """
        spec = self._walk(policy["spec"], real_names)
        return {**policy, "spec": spec}

    def _walk(self, value: Any, real: bool) -> Any:
        if isinstance(value, str) and value.startswith("$"):
            return self._cidr(value)
        if isinstance(value, list | tuple):
            return [self._walk(item, real) for item in value]
        if not isinstance(value, Mapping):
            return value
        if real and value.get("key") == NAME_LABEL and value.get("values"):
            return {**value, "values": [self.namespaces.get(name, name) for name in value["values"]]}
        return {
            name: self.namespaces.get(child, child)
            if real and name == NAME_LABEL
            else self._walk(child, real)
            for name, child in value.items()
        }

    def _cidr(self, text: str) -> str:
        anchor, length, number = text[1:].split("#")
        family = self.families[int(number) % len(self.families)]
        bits = _V6_LENGTHS[int(length)] if family == "ipv6" else int(length)
        unknown = "2001:db8::1" if family == "ipv6" else "192.0.2.1"  # documentation ranges: nobody is there
        known = self.outside if anchor == OUTSIDE else self.pods.get(anchor, {})
        return str(ipaddress.ip_network((known.get(family, unknown), bits), strict=False))


def namespaces_of(pods: tuple[str, ...]) -> tuple[str, ...]:
    """Return the namespaces of some pods, each once."""
    return tuple(dict.fromkeys(pod.partition("/")[0] for pod in pods))


__all__ = ["ANY", "OUTSIDE", "POOL", "PORT_NAMES", "Addresses", "Case", "Obj", "Stage", "block", "namespaces_of"]
