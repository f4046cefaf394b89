# SPDX-License-Identifier: Apache-2.0
"""MetalLB's address pools: which addresses there are and who may have them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, name_of, namespace_of
from pytest_cniconformance.lab.api.selectors import matches

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Pool:
    """One IPAddressPool."""

    name: str
    labels: dict[str, str]
    ranges: tuple[tuple[Address, Address], ...]
    auto_assign: bool
    avoid_buggy: bool
    priority: int
    allocation: Obj | None

    @classmethod
    def of(cls, obj: Obj) -> Pool:
        """Return the pool of an IPAddressPool object; ranges that cannot be read are left out."""
        spec = obj["spec"]
        allocation = spec.get("serviceAllocation")
        return cls(
            name_of(obj),
            obj["metadata"].get("labels") or {},
            tuple(found for text in spec.get("addresses") or () if (found := parse_range(text)) is not None),
            spec.get("autoAssign", True),
            bool(spec.get("avoidBuggyIPs")),
            (allocation or {}).get("priority") or 2**31,
            allocation,
        )

    def __contains__(self, address: Address) -> bool:
        return any(
            low.version == address.version and int(low) <= int(address) <= int(high)
            for low, high in self.ranges
        )

    def addresses(self, family: str) -> Iterator[Address]:
        """Yield the pool's addresses of a family (IPv4, IPv6)."""
        for low, high in self.ranges:
            if f"IPv{low.version}" != family:
                continue
            for value in range(int(low), int(high) + 1):
                if not (self.avoid_buggy and low.version == 4 and value % 256 in (0, 255)):
                    yield type(low)(value)

    def serves(self, service: Obj, namespace: Obj) -> bool:
        """Whether the pool may serve a Service of a namespace."""
        if self.allocation is None:
            return True
        names = self.allocation.get("namespaces") or ()
        by_label = self.allocation.get("namespaceSelectors") or ()
        if (names or by_label) and namespace_of(service) not in names:
            labels = namespace["metadata"].get("labels") or {}
            if not any(matches(selector, labels) for selector in by_label):
                return False
        selectors = self.allocation.get("serviceSelectors") or ()
        return not selectors or any(
            matches(selector, service["metadata"].get("labels") or {}) for selector in selectors
        )


def parse_range(text: str) -> tuple[Address, Address] | None:
    """Return the first and last address of ``10.0.0.0/24`` or ``10.0.0.1-10.0.0.9``; None for anything else."""
    try:
        if "-" in text:
            low, _, high = text.partition("-")
            first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
            return (first, last) if first.version == last.version and int(first) <= int(last) else None
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    return network[0], network[-1]
