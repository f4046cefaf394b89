# SPDX-License-Identifier: Apache-2.0
"""Delete entries of a protocol from conntrack, so that a client stops talking to an endpoint that is gone.

stdin: ``{"protocol": "udp", "flows": [["10.96.0.10", 53, "10.244.1.2", 53], ...]}``: entries whose original
destination is the first pair and whose answers come from the second; an empty second address means any.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_CTNETLINK = 1 << 8
_GET, _DELETE = 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_NUMBERS = {"tcp": 6, "udp": 17}


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk netlink attributes: (type without flags, payload)."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def parse_tuple(data: bytes) -> dict[str, object]:
    """Read a CTA_TUPLE: source, destination, ports and protocol."""
    found: dict[str, object] = {}
    for kind, value in attributes(data):
        inner = dict(attributes(value))
        if kind == 1:
            for name, v4, v6 in (("src", 1, 3), ("dst", 2, 4)):
                raw = inner.get(v4) or inner.get(v6)
                if raw:
                    found[name] = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
        elif kind == 2:
            found["protocol"] = inner[1][0]
            found["sport"] = int.from_bytes(inner.get(2, b""), "big")
            found["dport"] = int.from_bytes(inner.get(3, b""), "big")
    return found


def message(kind: int, flags: int, family: int, body: bytes = b"") -> bytes:
    """Build a ctnetlink request."""
    payload = struct.pack("=BBH", family, 0, 0) + body
    return struct.pack("=LHHLL", 16 + len(payload), _CTNETLINK | kind, flags, 1, 0) + payload


def dump(sock: socket.socket, family: int) -> list[dict[int, bytes]]:
    """List all entries of a family, as attributes."""
    sock.send(message(_GET, 0x301, family))  # REQUEST | DUMP
    entries: list[dict[int, bytes]] = []
    while True:
        data = sock.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=LH", data, offset)
            if kind == 3:  # DONE
                return entries
            if kind == 2:  # ERROR
                code = struct.unpack_from("=i", data, offset + 16)[0]
                raise OSError(-code, "conntrack dump failed")
            entries.append(dict(attributes(data[offset + 20 : offset + length])))
            offset += (length + 3) & ~3


def main() -> None:
    """Delete what matches."""
    wanted = json.load(sys.stdin)
    flows = {(ip, port, end, end_port) for ip, port, end, end_port in wanted["flows"]}
    number = _NUMBERS[wanted["protocol"]]
    wild = {(ip, port) for ip, port, end, _ in flows if not end}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        families = {socket.AF_INET6 if ":" in flow[0] else socket.AF_INET for flow in flows}
        for family in families:
            for entry in dump(sock, family):
                original = parse_tuple(entry[_TUPLE_ORIGINAL])
                reply = parse_tuple(entry[_TUPLE_REPLY])
                if original.get("protocol") != number:
                    continue
                service = (original.get("dst"), original.get("dport"))
                if service in wild or (*service, reply.get("src"), reply.get("sport")) in flows:
                    raw = entry[_TUPLE_ORIGINAL]
                    body = struct.pack("=HH", 4 + len(raw), _TUPLE_ORIGINAL | 0x8000) + raw
                    sock.send(message(_DELETE, 0x5, family, body))  # REQUEST | ACK
                    sock.recv(1 << 16)


if __name__ == "__main__":
    main()
