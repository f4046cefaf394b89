# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic on addresses: ipBlocks, and the set of pods that a block covers."""

from __future__ import annotations

import functools
import ipaddress
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_cniconformance.model.failure import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FAMILIES = ("ipv4", "ipv6")


def family_of(address: Address | Network) -> str:
    """``ipv4`` or ``ipv6``."""
    return FAMILIES[address.version == 6]


@functools.lru_cache(maxsize=65536)
def parse_address(text: str) -> Address:
    """Return the address; an IPv4 address in IPv6 notation (``::ffff:192.0.2.1``) is the IPv4 one, as in Go.

    Raises:
        UsageError: it is none, or it has a zone and so means something on one machine only.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"{text!r} is no IP address") from None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.scope_id is not None:
        raise UsageError(f"{text!r} has a zone: such an address means something on one machine only")
    return address.ipv4_mapped or address


@functools.lru_cache(maxsize=65536)
def is_address(text: str) -> bool:
    """Whether the text is an IP address rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=65536)
def parse_network(text: str) -> Network:
    """Return the network as the API server reads it: host bits and leading zeros of IPv4 are tolerated.

    IPv4 in IPv6 notation is IPv4, as Go's ``IPNet`` has it; zones are refused.

    Raises:
        ValueError: it is none; a prefix length is required.
    """
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit() or "%" in address:
        raise ValueError(f"{text!r} is no CIDR")
    if ":" not in address:
        octets = address.split(".")
        if all(octet.isascii() and octet.isdigit() for octet in octets):
            address = ".".join(str(int(octet)) for octet in octets)
    network = ipaddress.ip_network(f"{address}/{int(length)}", strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None else ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")


@dataclass(frozen=True, slots=True)
class IpBlock:
    """``cidr`` without the ranges of ``except``. The exception concerns this block only."""

    cidr: Network
    excluded: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, cidr: str, excluded: Iterable[str] = ()) -> IpBlock:
        """Read the API's form.

        Raises:
            UsageError: a CIDR is malformed.
        """
        try:
            return cls(parse_network(cidr), tuple(parse_network(text) for text in excluded))
        except ValueError as error:
            raise UsageError(f"ipBlock: {error}") from None

    @property
    def family(self) -> str:
        """The one family whose addresses the block can match."""
        return family_of(self.cidr)

    def __contains__(self, address: Address) -> bool:
        """Whether the block covers the address; never one of the other family."""
        if address.version != self.cidr.version or address not in self.cidr:
            return False
        return not any(address in network for network in self.excluded if network.version == address.version)

    def __str__(self) -> str:
        if not self.excluded:
            return str(self.cidr)
        return f"{self.cidr} except {', '.join(map(str, self.excluded))}"


class AddressIndex:
    """The addresses of numbered objects in one family, answering a block with the mask of those inside."""

    def __init__(self, addresses: Iterable[tuple[int, Address]]) -> None:
        ordered = sorted((int(address), number) for number, address in addresses)
        self._values = [value for value, _ in ordered]
        # _masks[k] holds the first k objects, so that a range is the difference of two of them.
        self._masks = [0]
        for _, number in ordered:
            self._masks.append(self._masks[-1] | 1 << number)

    def _inside(self, network: Network) -> int:
        first = bisect_left(self._values, int(network.network_address))
        after = bisect_left(self._values, int(network.broadcast_address) + 1)
        return self._masks[after] & ~self._masks[first]

    def select(self, block: IpBlock) -> int:
        """Return the mask of the objects whose address the block covers."""
        mask = self._inside(block.cidr)
        for network in block.excluded:
            if mask and network.version == block.cidr.version:
                mask &= ~self._inside(network)
        return mask
