# SPDX-License-Identifier: Apache-2.0
"""DNS messages, written and read by hand."""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "ANY": 255,
}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def dns_query(identifier: int, name: str, kind: int, edns: int = 0) -> bytes:
    """Return a query with one question, recursion desired; ``edns`` is the datagram size to offer (RFC 6891)."""
    labels = [
        label.encode("ascii" if label.isascii() else "idna") for label in name.rstrip(".").split(".") if label
    ]
    question = b"".join(bytes([len(label)]) + label for label in labels)
    extra = struct.pack("!BHHIH", 0, 41, edns, 0, 0) if edns else b""
    header = struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 1 if edns else 0)
    return header + question + b"\0" + struct.pack("!2H", kind, 1) + extra


def dns_name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset, compression resolved, and the offset after it."""
    labels: list[str] = []
    after = -1
    for _ in range(128):
        length = data[at]
        if length >= 0xC0:
            after = at + 2 if after < 0 else after
            at = ((length & 0x3F) << 8) | data[at + 1]
        elif length == 0:
            return ".".join(labels) + ".", (at + 1 if after < 0 else after)
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii", "backslashreplace"))
            at += 1 + length
    raise ValueError("a name that points to itself")


def dns_parse(data: bytes) -> dict[str, Any]:
    """Return rcode, flags, answers and authority of a message. Raises ValueError, IndexError or struct.error."""
    _, flags, questions, answers, authorities = struct.unpack_from("!5H", data)
    at = 12
    for _ in range(questions):
        at = dns_name(data, at)[1] + 4
    found = []
    for _ in range(answers + authorities):
        record, at = _record(data, at)
        found.append(record)
    return {
        "rcode": RCODES.get(flags & 15, str(flags & 15)),
        "answers": found[:answers],
        "authority": found[answers:],
        "truncated": bool(flags & 0x0200),
        "authoritative": bool(flags & 0x0400),
    }


def _record(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Return the record at an offset and the offset after it."""
    name, at = dns_name(data, at)
    kind, _, ttl, size = struct.unpack_from("!2HIH", data, at)
    at += 10
    raw = data[at : at + size]
    if kind == 1:
        value: Any = socket.inet_ntop(socket.AF_INET, raw)
    elif kind == 28:
        value = socket.inet_ntop(socket.AF_INET6, raw)
    elif kind in (2, 5, 12):
        value = dns_name(data, at)[0]
    elif kind == 6:
        mailbox = dns_name(data, at)[1]
        value = list(struct.unpack_from("!5I", data, dns_name(data, mailbox)[1]))
    elif kind == 33:
        value = [*struct.unpack_from("!3H", data, at), dns_name(data, at + 6)[0]]
    elif kind == 16:
        value, spot = [], 0
        while spot < len(raw):
            value.append(raw[spot + 1 : spot + 1 + raw[spot]].decode("utf-8", "backslashreplace"))
            spot += 1 + raw[spot]
    else:
        value = raw.hex()
    return {"name": name, "type": TYPE_NAMES.get(kind, str(kind)), "ttl": ttl, "value": value}, at + size
