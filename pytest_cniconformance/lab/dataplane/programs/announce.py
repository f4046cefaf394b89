# SPDX-License-Identifier: Apache-2.0
"""Tell the neighbours that an address lives here now: gratuitous ARP.

stdin: ``{"device": "eth0", "addresses": ["172.30.100.1"]}``
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

_ETH_ARP = 0x0806


def gratuitous_arp(mac: bytes, ip: bytes, *, operation: int) -> bytes:
    """Build the frame: operation 1 is a request, 2 a reply; both are in use, and both update caches."""
    broadcast = b"\xff" * 6
    header = broadcast + mac + _ETH_ARP.to_bytes(2, "big")
    target = broadcast if operation == 2 else bytes(6)
    body = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big") + mac + ip + target + ip
    return header + body


def main() -> None:
    """Send both forms once per IPv4 address."""
    wanted = json.load(sys.stdin)
    text = Path(f"/sys/class/net/{wanted['device']}/address")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((wanted["device"], _ETH_ARP))
        # The kernel knows the address of the bound device even where /sys shows another namespace.
        mac = raw.getsockname()[4] or bytes.fromhex(text.read_text().strip().replace(":", ""))
        for address in wanted["addresses"]:
            if ":" not in address:
                for operation in (1, 2):
                    raw.send(gratuitous_arp(mac, socket.inet_aton(address), operation=operation))


if __name__ == "__main__":
    main()
