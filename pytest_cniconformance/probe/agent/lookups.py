# SPDX-License-Identifier: Apache-2.0
"""Many lookups of one name: each on a fresh socket, and optionally A and AAAA from the same one."""

from __future__ import annotations

import os
import socket
import struct

from .addresses import family_of
from .dns import resolv_conf
from .dnsmessage import TYPES, dns_parse, dns_query
from .loop import READ, Loop, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


async def op_lookups(loop: Loop, request: dict[str, Any]) -> dict[str, Any]:
    """Look ``name`` up ``n`` times over UDP, ``parallel`` at a time, one datagram per query, none repeated.

    A sample is the microseconds until every type in ``types`` was answered, all asked from one socket as C
    libraries do; None where an answer did not come within ``wait`` milliseconds. ``torn`` counts those of which one
    answer came and another did not. ``rcodes`` counts answers.
    """
    server = request.get("server") or next(iter(resolv_conf()["nameservers"]), "127.0.0.1")
    address, wait = (server, request.get("port", 53)), request.get("wait", 2000) / 1000.0
    types, samples = request.get("types", ["A"]), []
    lost: dict[str, int] = {}
    rcodes: dict[str, int] = {}
    left, torn = request["n"], 0

    async def work() -> None:
        nonlocal left, torn
        while left > 0:
            left -= 1
            took, missing, codes = await _together(loop, address, request["name"], types, wait)
            samples.append(took)
            torn += 0 < len(missing) < len(types)
            for kind in missing:
                lost[kind] = lost.get(kind, 0) + 1
            for code in codes:
                rcodes[code] = rcodes.get(code, 0) + 1

    for task in [loop.spawn(work()) for _ in range(max(1, request.get("parallel", 1)))]:
        await loop.join(task)
    return {"samples": samples, "lost": lost, "torn": torn, "rcodes": rcodes, "server": server}


async def _together(
    loop: Loop, address: tuple[str, int], name: str, types: list[str], wait: float
) -> tuple[int | None, list[str], list[str]]:
    """Ask for all types at once; return the microseconds, the types without answer, and the response codes."""
    first = struct.unpack("!H", os.urandom(2))[0]
    asked = {struct.pack("!H", (first + i) & 0xFFFF): kind for i, kind in enumerate(types)}
    codes: list[str] = []
    began = now()
    with socket.socket(family_of(address[0]) or socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)
            for identifier, kind in asked.items():
                sock.send(dns_query(struct.unpack("!H", identifier)[0], name, TYPES[kind]))
            while asked and await loop.io(sock, READ, began + wait):
                packet = sock.recv(65535)
                if asked.pop(packet[:2], None):
                    codes.append(dns_parse(packet)["rcode"])
        except (OSError, ValueError, IndexError, struct.error) as error:
            codes.append(f"{type(error).__name__}: {error}")
    return (None if asked else round((now() - began) * 1e6)), list(asked.values()), codes
