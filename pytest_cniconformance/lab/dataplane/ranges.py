# SPDX-License-Identifier: Apache-2.0
"""Sets of addresses as sorted, disjoint intervals: ipBlock with except, entities, complements."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import IPV4, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

Range = tuple[int, int]


def of_cidr(cidr: str) -> Range:
    """First and last address of a CIDR (host bits are ignored), or of a single address."""
    network = ip_network(cidr, strict=False)
    return int(network.network_address), int(network.broadcast_address)


def everything(family: str) -> Range:
    """All addresses of a family."""
    return 0, 2 ** (32 if family == IPV4 else 128) - 1


def union(ranges: Iterable[Range]) -> list[Range]:
    """Merge overlapping and adjacent intervals."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    """Take ``holes`` out of ``ranges``."""
    rest = union(ranges)
    for hole_low, hole_high in union(holes):
        cut: list[Range] = []
        for low, high in rest:
            if hole_high < low or high < hole_low:
                cut.append((low, high))
                continue
            if low < hole_low:
                cut.append((low, hole_low - 1))
            if hole_high < high:
                cut.append((hole_high + 1, high))
        rest = cut
    return rest


def of_family(cidrs: Iterable[str], family: str) -> list[Range]:
    """Convert those CIDRs that belong to a family."""
    return [of_cidr(cidr) for cidr in cidrs if family_of(cidr) == family]


def to_nft(ranges: Iterable[Range], family: str) -> list[str]:
    """Write intervals as elements of an interval set."""
    make = IPv4Address if family == IPV4 else IPv6Address
    return [str(make(low)) if low == high else f"{make(low)}-{make(high)}" for low, high in ranges]


def to_cidrs(ranges: Iterable[Range], family: str) -> list[str]:
    """Write intervals as CIDRs."""
    if family == IPV4:
        return [str(n) for a, b in ranges for n in summarize_address_range(IPv4Address(a), IPv4Address(b))]
    return [str(n) for a, b in ranges for n in summarize_address_range(IPv6Address(a), IPv6Address(b))]
