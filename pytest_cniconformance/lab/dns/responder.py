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
DELAY_SECONDS = 0.2
"""What an overloaded server adds to every answer."""
RACE_SECONDS = 0.02
"""Two queries from one socket within this time take part in the race."""


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
        self._missing: dict[str, Answer] = {}
        self._last: dict[tuple[str, int], float] = {}
        self._crowds = 0
        self._lock = threading.Lock()

    def quick(self, query: bytes, client: str, port: int = 0) -> Callable[[], bytes | None] | bytes | None:
        """Answer a datagram at once, or return what will answer it when called from a thread of its own."""
        return self._reply(query, client, port, tcp=False)

    def answer(self, query: bytes, client: str, *, tcp: bool) -> bytes | None:
        """Answer a query, however long it takes; None for what deserves no answer."""
        reply = self._reply(query, client, 0, tcp=tcp)
        return reply() if callable(reply) else reply

    def _reply(
        self, query: bytes, client: str, port: int, *, tcp: bool
    ) -> Callable[[], bytes | None] | bytes | None:
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
        if self._refuses(name, kind):
            return self._pack(request, Answer(RCODE.SERVFAIL), tcp=tcp)
        if "dns-race" in self._faults and not tcp and self._crowded((client, port)):
            return None
        found = self._remembered(name, kind, client)
        slow = "dns-slow" in self._faults and not tcp and self._lost(client, name.lower(), kind)
        delay = SLOW_SECONDS if slow else DELAY_SECONDS if "dns-delayed" in self._faults else 0.0
        if found.rcode is not None and not found.follow and not delay:
            return self._pack(request, found, tcp=tcp)

        def later() -> bytes | None:
            if delay:
                self._sleep(delay)
            if found.rcode is None:
                reply = self._upstream.exchange(name, query, tcp=tcp)
                missing = reply is not None and reply[3] & 15 == RCODE.NXDOMAIN
                if reply is None or (missing and "dns-nxdomain-as-servfail" in self._faults):
                    return self._pack(request, Answer(RCODE.SERVFAIL), tcp=tcp)
                return reply
            if found.follow:
                found.records += self._beyond(found.follow, kind)
            return self._pack(request, found, tcp=tcp)

        return later

    def _refuses(self, name: str, kind: int) -> bool:
        """Whether a fault answers SERVFAIL here; the replica's own readiness is not concerned."""
        return "dns-replica-broken" in self._faults or (
            kind == QTYPE.AAAA and "dns-aaaa-servfail" in self._faults
        )

    def _remembered(self, name: str, kind: int, client: str) -> Answer:
        """Return the zone's answer; with a cache that forgets no "no", what it was the first time."""
        if "dns-negative-cached" not in self._faults:
            return self._zone.answer(name, kind, client)
        known = self._missing.get(name.lower())
        found = known or self._zone.answer(name, kind, client)
        if found.rcode == RCODE.NXDOMAIN:
            self._missing[name.lower()] = found
        return found

    def _crowded(self, source: tuple[str, int]) -> bool:
        """Whether another query came from this socket a moment ago, and this one is the unlucky fourth."""
        with self._lock:
            now, before = time.monotonic(), self._last.get(source, 0.0)
            self._last[source] = now
            if now - before > RACE_SECONDS:
                return False
            self._crowds += 1
            return self._crowds % 4 == 0

    def _lost(self, client: str, name: str, kind: int) -> bool:
        """Whether this query is taken for lost: every AAAA, and what a client asks for the first time."""
        with self._lock:
            first = (client, name) not in self._asked
            self._asked.add((client, name))
        return first or kind == QTYPE.AAAA

    def _beyond(self, name: str, kind: int) -> list[RR]:
        """Return what upstream says of the end of a chain of aliases; nothing if it says nothing."""
        question = DNSRecord(DNSHeader(rd=1), q=DNSQuestion(name, kind)).pack()
        reply = self._upstream.exchange(name, question, tcp=True)
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
            offered = 0 if edns is None or "dns-edns-ignored" in self._faults else edns.rclass
            limit = max(UDP_PLAIN, min(offered, UDP_LARGEST))
        if edns is not None:
            reply.add_ar(EDNS0(udp_len=UDP_LARGEST))
        packed: bytes = reply.pack()
        if len(packed) > limit:
            silent = "dns-truncation-silent" in self._faults
            header.tc = 0 if silent else 1
            kept = answer.records[: limit // 32] if silent else []
            extra = [record for record in reply.ar if record.rtype == QTYPE.OPT]
            packed = DNSRecord(header, questions=request.questions, rr=kept, ar=extra).pack()
        return packed


def _malformed(query: bytes) -> bytes | None:
    """Answer FORMERR where at least the id and the direction can be read."""
    if len(query) < 12 or query[2] & 0x80:
        return None
    packed: bytes = DNSRecord(
        DNSHeader(id=int.from_bytes(query[:2], "big"), qr=1, rcode=RCODE.FORMERR)
    ).pack()
    return packed
