# SPDX-License-Identifier: Apache-2.0
"""One query in, one reply out: EDNS, truncation, forwarding, and the faults of the server itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dnslib import EDNS0, QTYPE, RCODE, RR, DNSError, DNSHeader, DNSQuestion, DNSRecord

from pytest_cniconformance.lab.dns.upstream import Upstream
from pytest_cniconformance.lab.dns.zone import Answer, Zone

UDP_PLAIN, UDP_LARGEST = 512, 1232
"""Bytes: without EDNS, and at most with it (the DNS flag day 2020 value: no fragments)."""
SLOW_SECONDS = 5.0
"""The pause of a resolver that lost one of two parallel queries."""


class Responder:
    """Answers queries from the zone or from upstream."""

    def __init__(
        self,
        zone: Zone,
        upstream: Upstream,
        *,
        faults: frozenset[str] = frozenset(),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._zone, self._upstream, self._faults, self._sleep = zone, upstream, faults, sleep
        self._asked: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def quick(self, query: bytes, client: str) -> Callable[[], bytes | None] | bytes | None:
        """Answer a datagram at once, or return what will answer it when called from a thread of its own."""
        return self._reply(query, client, tcp=False)

    def answer(self, query: bytes, client: str, *, tcp: bool) -> bytes | None:
        """Answer a query, however long it takes; None for what deserves no answer."""
        reply = self._reply(query, client, tcp=tcp)
        return reply() if callable(reply) else reply

    def _reply(self, query: bytes, client: str, *, tcp: bool) -> Callable[[], bytes | None] | bytes | None:
        try:
            request = DNSRecord.parse(query)
        except (DNSError, ValueError, IndexError):
            return _malformed(query)
        if request.header.qr:
            return None
        if request.header.opcode != 0 or len(request.questions) != 1:
            code = RCODE.NOTIMP if request.header.opcode != 0 else RCODE.FORMERR
            return self._pack(request, Answer(code), tcp=tcp)
        name, kind = str(request.q.qname).rstrip("."), request.q.qtype
        found = self._zone.answer(name, kind, client)
        slow = "dns-slow" in self._faults and not tcp and self._lost(client, name.lower(), kind)
        if found.rcode is not None and not found.follow and not slow:
            return self._pack(request, found, tcp=tcp)

        def later() -> bytes | None:
            if slow:
                self._sleep(SLOW_SECONDS)
            if found.rcode is None:
                return self._upstream.exchange(query, tcp=tcp) or self._pack(
                    request, Answer(RCODE.SERVFAIL), tcp=tcp
                )
            if found.follow:
                found.records += self._beyond(found.follow, kind)
            return self._pack(request, found, tcp=tcp)

        return later

    def _lost(self, client: str, name: str, kind: int) -> bool:
        """Whether this query is taken for lost: every AAAA, and what a client asks for the first time."""
        with self._lock:
            first = (client, name) not in self._asked
            self._asked.add((client, name))
        return first or kind == QTYPE.AAAA

    def _beyond(self, name: str, kind: int) -> list[RR]:
        """Return what upstream says of the end of a chain of aliases; nothing if it says nothing."""
        question = DNSRecord(DNSHeader(rd=1), q=DNSQuestion(name, kind)).pack()
        reply = self._upstream.exchange(question, tcp=True)
        if reply is None:
            return []
        try:
            return list(DNSRecord.parse(reply).rr)
        except DNSError:
            return []

    def _pack(self, request: DNSRecord, answer: Answer, *, tcp: bool) -> bytes:
        header = DNSHeader(id=request.header.id, qr=1, aa=1, ra=1, rd=request.header.rd, rcode=answer.rcode)
        header.opcode = request.header.opcode
        reply = DNSRecord(
            header, questions=request.questions, rr=answer.records, auth=answer.authority, ar=answer.extra
        )
        limit = 65535
        edns = next((record for record in request.ar if record.rtype == QTYPE.OPT), None)
        if not tcp:
            limit = UDP_PLAIN if edns is None else max(UDP_PLAIN, min(edns.rclass, UDP_LARGEST))
        if edns is not None:
            reply.add_ar(EDNS0(udp_len=UDP_LARGEST))
        packed: bytes = reply.pack()
        if len(packed) > limit:
            header.tc = 1
            extra = [record for record in reply.ar if record.rtype == QTYPE.OPT]
            packed = DNSRecord(header, questions=request.questions, ar=extra).pack()
        return packed


def _malformed(query: bytes) -> bytes | None:
    """Answer FORMERR where at least the id and the direction can be read."""
    if len(query) < 12 or query[2] & 0x80:
        return None
    packed: bytes = DNSRecord(
        DNSHeader(id=int.from_bytes(query[:2], "big"), qr=1, rcode=RCODE.FORMERR)
    ).pack()
    return packed
