# SPDX-License-Identifier: Apache-2.0
"""Tell the neighbours that an address lives here now: gratuitous ARP, unsolicited neighbour advertisements.

stdin: ``{"device": "eth0", "addresses": ["172.30.100.1", "fd00:172:30::100:1"]}``
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from pathlib import Path

_ETH_ALL, _ETH_ARP, _ETH_IPV6 = 0x0003, 0x0806, 0x86DD
_ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")


def gratuitous_arp(mac: bytes, ip: bytes, *, operation: int) -> bytes:
    """Build the frame: operation 1 is a request, 2 a reply; both are in use, and both update caches."""
    broadcast = b"\xff" * 6
    header = broadcast + mac + _ETH_ARP.to_bytes(2, "big")
    target = broadcast if operation == 2 else bytes(6)
    body = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big") + mac + ip + target + ip
    return header + body


def advertisement(mac: bytes, ip: bytes) -> bytes:
    """Build an unsolicited neighbour advertisement that overrides caches (RFC 4861 §7.2.6)."""
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ip + b"\x02\x01" + mac
    pseudo = ip + _ALL_NODES + struct.pack("!I3xB", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = b"\x33\x33\x00\x00\x00\x01" + mac + _ETH_IPV6.to_bytes(2, "big")
    return header + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ip + _ALL_NODES + body


def main() -> None:
    """Send both forms of ARP once per IPv4 address, an advertisement per IPv6 address."""
    wanted = json.load(sys.stdin)
    text = Path(f"/sys/class/net/{wanted['device']}/address")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((wanted["device"], _ETH_ALL))
        # The kernel knows the address of the bound device even where /sys shows another namespace.
        mac = raw.getsockname()[4] or bytes.fromhex(text.read_text().strip().replace(":", ""))
        for address in wanted["addresses"]:
            if ":" in address:
                raw.send(advertisement(mac, socket.inet_pton(socket.AF_INET6, address)))
            else:
                for operation in (1, 2):
                    raw.send(gratuitous_arp(mac, socket.inet_aton(address), operation=operation))


if __name__ == "__main__":
    main()
