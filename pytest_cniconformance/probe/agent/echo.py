# SPDX-License-Identifier: Apache-2.0
"""ICMP echo through the kernel's ping socket, which needs no privilege where ``ping_group_range`` has our group."""

from __future__ import annotations

import errno
import os
import socket
import struct

from .addresses import family_of
from .judgement import IP_RECVERR, IPV6_RECVERR, Try, judge
from .loop import READ, Loop, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ICMP6 = 58  # socket.IPPROTO_ICMPV6 is not in every Python
REQUEST, REQUEST6 = 8, 128  # ICMP types


async def op_echo(loop: Loop, request: dict[str, Any]) -> dict[str, Any]:
    """Send ``n`` echo requests, one after the answer to the other or after ``wait`` milliseconds of silence.

    A PermissionError says that this group may not ping; nothing is known of the network then.
    """
    host, count, wait = request["host"], request.get("n", 3), request.get("wait", 300) / 1000.0
    family = family_of(host)
    if not family:
        raise ValueError(f"echo needs an IP address, not {host!r}")
    six = family == socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM, ICMP6 if six else socket.IPPROTO_ICMP)
    outcome, times = Try(), []
    try:
        sock.setblocking(False)
        level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if six else (socket.IPPROTO_IP, IP_RECVERR)
        sock.setsockopt(level, option, 1)
        sock.connect((host, 0))
        for number in range(1, count + 1):
            began = now()
            payload = os.urandom(16)
            try:
                # The kernel fills in the identifier and the checksum.
                sock.send(struct.pack("!BBHHH", REQUEST6 if six else REQUEST, 0, 0, 0, number) + payload)
                if await _answered(loop, sock, number, payload, began + wait):
                    times.append(round((now() - began) * 1e6))
            except OSError as error:
                judge(outcome, error.errno or errno.EIO, sock, False)
    finally:
        sock.close()
    return {"sent": count, "us": times, "cause": outcome.cause}


async def _answered(loop: Loop, sock: socket.socket, number: int, payload: bytes, deadline: float) -> bool:
    while await loop.io(sock, READ, deadline):
        try:
            data = sock.recv(512)
        except BlockingIOError:
            continue
        if len(data) >= 8 and data[8:] == payload and struct.unpack_from("!H", data, 6)[0] == number:
            return True
    return False
