# SPDX-License-Identifier: Apache-2.0
"""Address families, transport protocols, and what this network namespace has of them."""

# pathlib would cost more than the rest of the start-up:
# ruff: noqa: PTH123

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCTP = 132
PROTOCOLS = {
    "TCP": (socket.SOCK_STREAM, 0),
    "UDP": (socket.SOCK_DGRAM, 0),
    "SCTP": (socket.SOCK_STREAM, SCTP),
}


def family_of(host: str) -> int:
    """Return the address family of an IP literal, 0 for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
            return int(family)
        except OSError:
            pass
    return 0


def own_addresses() -> dict[int, list[str]]:
    """Return this network namespace's addresses by family, loopback and link-local left out."""
    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    try:
        with open("/proc/net/fib_trie") as trie:
            previous = ""
            for line in trie:
                if "/32 host LOCAL" in line:
                    address = previous.split()[-1]
                    if not address.startswith("127.") and address not in found[socket.AF_INET]:
                        found[socket.AF_INET].append(address)
                previous = line
    except (OSError, IndexError):
        pass
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                digits, _, _, scope = line.split()[:4]
                if scope == "00":
                    found[socket.AF_INET6].append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    except (OSError, ValueError):
        pass
    for address in reversed(os.environ.get("CNI_POD_IPS", "").replace(",", " ").split()):
        family = family_of(address)
        if family:
            found[family] = [address] + [other for other in found[family] if other != address]
    return found


def endpoint(address: tuple[Any, ...]) -> str:
    """Return ``address:port`` of a socket address."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def available_protocols() -> list[str]:
    """Return the transport protocols that the kernel has."""
    found = []
    for name, (kind, number) in PROTOCOLS.items():
        try:
            socket.socket(socket.AF_INET, kind, number).close()
            found.append(name)
        except OSError:
            pass
    return found
