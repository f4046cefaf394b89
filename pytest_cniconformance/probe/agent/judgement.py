# SPDX-License-Identifier: Apache-2.0
"""What became of one attempt, and which verdict an errno and the ICMP message behind it stand for."""

from __future__ import annotations

import errno
import os
import socket
import struct

# Linux constants that the socket module does not export in every Python.
IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE = 11, 25, 0x2000
SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 = 2, 3
EXTENDED_ERRORS = ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))

# (ICMP type, code) of the errors by which a filter says no; every other ICMP error means that there is no way.
PROHIBITED_4 = {(3, 9), (3, 10), (3, 13)}
PROHIBITED_6 = {(1, 1), (1, 5), (1, 6)}
NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENONET}


class Try:
    """One fresh connection or datagram. ``verdict`` stays empty as long as nothing was heard.

    ``left`` is when its first packet was on its way for certain, 0 while it is not.
    """

    __slots__ = (
        "cause",
        "connected",
        "firm",
        "latency",
        "left",
        "peer",
        "port",
        "responder",
        "status",
        "verdict",
    )

    def __init__(self) -> None:
        self.verdict = self.cause = self.responder = self.peer = ""
        self.latency: float | None = None
        self.status: int | None = None
        self.port = 0
        self.left = 0.0
        self.connected = False
        self.firm = True

    def say(self, verdict: str, cause: str = "", firm: bool = True) -> None:
        """Set the verdict; one that is not firm wants a second attempt."""
        self.verdict, self.cause, self.firm = verdict, cause, firm


def icmp_error(sock: socket.socket) -> tuple[int, int, str] | None:
    """Return (type, code, sender) of the ICMP error on the socket's error queue."""
    try:
        _, ancillary, _, _ = sock.recvmsg(512, 512, MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) not in EXTENDED_ERRORS or len(data) < 16:
            continue
        # struct sock_extended_err, and behind it the socket address of the sender
        _, origin, icmp_type, code = struct.unpack_from("=IBBB", data)
        if origin == SO_EE_ORIGIN_ICMP:
            return icmp_type, code, socket.inet_ntop(socket.AF_INET, data[20:24]) if len(data) >= 24 else ""
        if origin == SO_EE_ORIGIN_ICMP6:
            return icmp_type, code, socket.inet_ntop(socket.AF_INET6, data[24:40]) if len(data) >= 40 else ""
    return None


def judge(outcome: Try, number: int, sock: socket.socket, stream: bool) -> None:
    """Turn an errno (and the ICMP message behind it) into the verdict of the attempt."""
    name = errno.errorcode.get(number, str(number))
    six = sock.family == socket.AF_INET6
    icmp = icmp_error(sock) if number in NO_WAY or number in (errno.ECONNREFUSED, errno.EACCES) else None
    said = f"ICMP{'v6' if six else ''} {icmp[0]}/{icmp[1]} from {icmp[2]}" if icmp else ""
    if number == errno.ECONNREFUSED:
        if icmp or not stream:
            outcome.say("refused", f"port unreachable ({said or name})")
        else:
            outcome.say("refused", "connection refused (RST)", firm=False)
    elif number == errno.EACCES or (icmp and icmp[:2] in (PROHIBITED_6 if six else PROHIBITED_4)):
        outcome.say("refused", f"administratively prohibited ({said or name})")
    elif number in NO_WAY:
        outcome.say("unreachable", f"{os.strerror(number)} ({said or name})")
    elif number == errno.EPERM:
        outcome.say("dropped", "a local filter refused to send (EPERM)")
    elif number in (errno.ECONNRESET, errno.EPIPE):
        outcome.say("refused", "reset after accept" if outcome.connected else "reset", firm=False)
    elif number == errno.ETIMEDOUT:
        pass  # silence, in the kernel's words
    else:
        outcome.say("probe-error", f"{os.strerror(number)} ({name})")
