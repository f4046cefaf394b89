# SPDX-License-Identifier: Apache-2.0
"""The name servers of the outside host: what CoreDNS forwards to when a name is not the cluster's.

Run as ``python3 -I -S outside.py ADDRESS...`` in the outside host's network. Port 53 knows ``outside.lab.example``,
port 5353 serves the stub zone ``ml-legacy.local``, the names of another cluster; both answer with the host's own
addresses, and say of every other name that it does not exist, as the root servers would.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
import threading

NAME = "outside.lab.example"
STUB_ZONE, STUB_PORT = "ml-legacy.local", 5353
STUB_NAME = f"fraud-detection-model.ml-inference.svc.{STUB_ZONE}"
SERVED = {53: ("lab.example", NAME), STUB_PORT: (STUB_ZONE, STUB_NAME)}
"""By port: the zone, which has an SOA record, and the one name in it."""
_A, _SOA, _AAAA = 1, 6, 28
_NXDOMAIN = 3
_TTL = 30


def answer(query: bytes, addresses: list[str], port: int = 53) -> bytes | None:
    """Return the reply to one DNS message; None when it is none."""
    zone, name = SERVED[port]
    if len(query) < 17:
        return None
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]])
        end += 1 + query[end]
        if end >= len(query) - 4:
            return None
    end += 5
    (kind,) = struct.unpack_from("!H", query, end - 4)
    asked = b".".join(labels).lower().decode("ascii", "replace")
    known = asked in (name, zone)
    records = b""
    count = 0
    if asked == zone and kind == _SOA:
        # Both names of the record are the root, which is enough for a zone that nobody transfers.
        data = b"\0\0" + struct.pack("!5I", 1, 7200, 1800, 86400, _TTL)
        records = struct.pack("!HHHIH", 0xC00C, kind, 1, _TTL, len(data)) + data
        count = 1
    for text in addresses if asked == name else []:
        address = ipaddress.ip_address(text)
        if kind == (_A if address.version == 4 else _AAAA):
            data = address.packed
            records += struct.pack("!HHHIH", 0xC00C, kind, 1, _TTL, len(data)) + data
            count += 1
    # Response, authoritative, recursion desired (as asked) and available.
    flags = 0x8480 | (query[2] & 1) << 8 | (0 if known else _NXDOMAIN)
    return query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + query[12:end] + records


def _serve_tcp(server: socket.socket, addresses: list[str], port: int) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(2)
            try:
                (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                reply = answer(connection.recv(length, socket.MSG_WAITALL), addresses, port)
                if reply is not None:
                    connection.sendall(struct.pack("!H", len(reply)) + reply)
            except (OSError, struct.error):
                continue


def _serve_udp(sock: socket.socket, addresses: list[str], port: int) -> None:
    while True:
        query, client = sock.recvfrom(4096)
        reply = answer(query, addresses, port)
        if reply is not None:
            sock.sendto(reply, client)


def main(addresses: list[str]) -> None:
    """Serve on every address, for ever."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in SERVED:
            tcp = socket.create_server((address, port), family=family)
            threading.Thread(target=_serve_tcp, args=(tcp, addresses, port), daemon=True).start()
            udp = socket.socket(family, socket.SOCK_DGRAM)
            udp.bind((address, port))
            threading.Thread(target=_serve_udp, args=(udp, addresses, port)).start()


if __name__ == "__main__":
    main(sys.argv[1:])
