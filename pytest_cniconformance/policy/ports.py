# SPDX-License-Identifier: Apache-2.0
"""The ports of a rule: ranges, and names that each destination pod resolves for itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

NamedPorts = Mapping[tuple[str, str], frozenset[int]]
"""(name, protocol) → the container port numbers that carry this name in one pod."""


class NetworkPolicyPort(TypedDict, total=False):
    """``networking.k8s.io/v1.NetworkPolicyPort``."""

    port: int | str | None
    endPort: int | None
    protocol: str | None


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``first`` to ``last``, both included, of one protocol."""

    protocol: str
    first: int
    last: int

    def __str__(self) -> str:
        if (self.first, self.last) == (0, 65535):
            return f"any {self.protocol} port"
        number = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{number}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class PortName:
    """A port name of one protocol, to be looked up on the destination pod."""

    protocol: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Ports:
    """What the ``ports`` of a rule match. ``every`` stands for an absent or empty list: any port, any protocol."""

    every: bool = True
    ranges: tuple[PortRange, ...] = ()
    names: tuple[PortName, ...] = ()
    order: tuple[PortRange | PortName, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, entries: Iterable[NetworkPolicyPort] | None) -> Ports:
        """Read the API's form: protocol defaults to TCP, an entry without port means all of its protocol."""
        parsed = tuple(_entry(entry or {}) for entry in entries or ())
        return cls(
            not parsed,
            tuple(entry for entry in parsed if isinstance(entry, PortRange)),
            tuple(entry for entry in parsed if isinstance(entry, PortName)),
            parsed,
        )

    def in_ranges(self, port: int, protocol: str) -> bool:
        """Whether the port matches by number alone, on whatever destination."""
        return self.every or any(
            entry.protocol == protocol and entry.first <= port <= entry.last for entry in self.ranges
        )

    def match(self, port: int, protocol: str, named: NamedPorts) -> bool:
        """Whether the rule covers this port of a destination with these named ports."""
        return self.in_ranges(port, protocol) or any(
            entry.protocol == protocol and port in named.get((entry.name, protocol), ())
            for entry in self.names
        )

    def __str__(self) -> str:
        return "any port" if self.every else ", ".join(map(str, self.order))


def _entry(entry: NetworkPolicyPort) -> PortRange | PortName:
    protocol = entry.get("protocol") or "TCP"
    port = entry.get("port")
    if port is None:
        return PortRange(protocol, 0, 65535)
    if isinstance(port, str):
        return PortName(protocol, port)
    return PortRange(protocol, port, entry.get("endPort") or port)


def container_ports(pod_spec: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield (number, protocol, name) of the ports that a pod's containers and sidecars declare.

    A sidecar is an init container with ``restartPolicy: Always``; ordinary init containers have ended
    before anyone connects (kubernetes/kubernetes#125285).

    Raises:
        ValueError: a number that is no port.
    """
    sidecars = [c for c in pod_spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(pod_spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            number = port["containerPort"]
            if not isinstance(number, int) or not 1 <= number <= 65535:
                raise ValueError(f"containerPort {number!r} is not between 1 and 65535")
            yield number, str(port.get("protocol") or "TCP"), str(port.get("name") or "")


def named_ports(pod_spec: Mapping[str, Any]) -> dict[tuple[str, str], frozenset[int]]:
    """Return the named ports of a pod: of its containers and of its sidecars."""
    found: dict[tuple[str, str], frozenset[int]] = {}
    for number, protocol, name in container_ports(pod_spec):
        if name:
            found[name, protocol] = found.get((name, protocol), frozenset()) | {number}
    return found
