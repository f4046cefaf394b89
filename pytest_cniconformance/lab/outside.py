# SPDX-License-Identifier: Apache-2.0
"""The name server of the outside host: what CoreDNS forwards to when a name is not the cluster's.

Run as ``python3 -I -S outside.py ADDRESS...`` in the outside host's network. It knows ``outside.lab.example``,
its own addresses, and says of every other name that it does not exist, as the root servers would.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
import threading

NAME = "outside.lab.example"
_A, _AAAA = 1, 28
_NXDOMAIN = 3
_TTL = 30


def answer(query: bytes, addresses: list[str]) -> bytes | None:
    """Return the reply to one DNS message; None when it is none."""
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
    known = b".".join(labels).lower() == NAME.encode()
    records = b""
    count = 0
    for text in addresses if known else []:
        address = ipaddress.ip_address(text)
        if kind == (_A if address.version == 4 else _AAAA):
            data = address.packed
            records += struct.pack("!HHHIH", 0xC00C, kind, 1, _TTL, len(data)) + data
            count += 1
    # Response, authoritative, recursion desired (as asked) and available.
    flags = 0x8480 | (query[2] & 1) << 8 | (0 if known else _NXDOMAIN)
    return query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + query[12:end] + records


def _serve_tcp(server: socket.socket, addresses: list[str]) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(2)
            try:
                (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                reply = answer(connection.recv(length, socket.MSG_WAITALL), addresses)
                if reply is not None:
                    connection.sendall(struct.pack("!H", len(reply)) + reply)
            except (OSError, struct.error):
                continue


def main(addresses: list[str]) -> None:
    """Serve on every address, for ever."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        tcp = socket.create_server((address, 53), family=family)
        threading.Thread(target=_serve_tcp, args=(tcp, addresses), daemon=True).start()
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, 53))
        threading.Thread(target=_serve_udp, args=(udp, addresses)).start()


def _serve_udp(sock: socket.socket, addresses: list[str]) -> None:
    while True:
        query, client = sock.recvfrom(4096)
        reply = answer(query, addresses)
        if reply is not None:
            sock.sendto(reply, client)


if __name__ == "__main__":
    main(sys.argv[1:])
