# SPDX-License-Identifier: Apache-2.0
"""One fresh connection or datagram, from the connect to the verdict."""

from __future__ import annotations

import socket
import struct

from .addresses import PROTOCOLS
from .channel import Channel, Silence, connected
from .judgement import IP_RECVERR, IPV6_RECVERR, Try, judge
from .loop import Loop, now
from .talk import ask_datagram, ask_http, ask_line
from .target import Target


async def attempt(loop: Loop, target: Target, outcome: Try, deadline: float) -> None:
    """Make one fresh connection (or send one fresh datagram) and say what came of it."""
    began = now()
    try:
        sock = socket.socket(target.family, *PROTOCOLS[target.protocol])
    except OSError as error:
        outcome.say("probe-error", f"no {target.protocol} socket: {error.strerror}")
        return
    stream = target.protocol != "UDP"
    try:
        sock.setblocking(False)
        if target.reset:  # close by RST: no TIME_WAIT, however many connections there are
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Without this Linux hides which ICMP message ended the attempt: admin-prohibited and host-unreachable
        # are one errno on IPv4.
        if target.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        number = sock.connect_ex((target.address, target.port))
        outcome.left = now()
        number = await connected(loop, sock, number, deadline)
        if number:
            judge(outcome, number, sock, stream)
            return
        outcome.connected = stream
        if not target.talk and stream:
            outcome.latency = now() - began
            outcome.say("open", "connected")
        elif not stream:
            await ask_datagram(loop, sock, target, outcome, deadline)
        elif target.http is not None:
            await ask_http(Channel(loop, sock), target, outcome, deadline)
        else:
            await ask_line(Channel(loop, sock), target, outcome, deadline)
        if outcome.verdict in ("open", "http-denied"):
            outcome.latency = now() - began
    except Silence:
        pass
    except OSError as error:
        judge(outcome, error.errno or 0, sock, stream)
    finally:
        sock.close()
