# SPDX-License-Identifier: Apache-2.0
"""The server's side of UDP: ``=...`` is sent back as it came; a JSON line and a payload are answered as on a stream.

The answer must leave from the address that was asked, or a client with a connected socket (and the reverse
translation of a Service) would not know it: a node has more than one address.
"""

from __future__ import annotations

import json
import socket
import struct

from .addresses import endpoint
from .loop import READ
from .wire import answer, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .port import Port

IP_PKTINFO = 8  # on Linux; the socket module does not export it in every Python


async def serve_datagrams(port: Port, sock: socket.socket) -> None:
    """Answer every datagram that comes in."""
    loop = port.loop
    six = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) if six else (socket.IPPROTO_IP, IP_PKTINFO)
    sock.setsockopt(level, socket.IPV6_RECVPKTINFO if six else option, 1)
    while True:
        await loop.io(sock, READ, None)
        try:
            while True:
                data, ancillary, _, address = sock.recvmsg(65535, 256)
                reply = answer_datagram(port, data, endpoint(address))
                if reply:
                    control = [item for item in ancillary if item[:2] == (level, option)]
                    if not six and control:
                        # struct in_pktinfo: interface, local address, destination. Interface 0: route decides.
                        control = [(level, option, struct.pack("=i", 0) + control[0][2][4:])]
                    sock.sendmsg([reply], control, 0, address)
        except OSError:
            pass  # no more for now, or an ICMP error that an earlier answer met


def answer_datagram(port: Port, data: bytes, peer: str) -> bytes:
    """Return the answer to one datagram; nothing to one that is not in our language."""
    port.counter["bytes"] += len(data)
    if data[:1] == b"=":
        port.counter["requests"] += 1
        return data
    line, _, payload = data.partition(b"\n")
    try:
        request = json.loads(line)
        port.saw(peer, request.get("n"))
    except (ValueError, AttributeError):
        return b""
    digest = sha256(payload) if request.get("h") else ""
    reply = answer(request.get("n"), port.identity, port.number, peer, len(payload), digest)
    return reply + payload if request.get("e") else reply
