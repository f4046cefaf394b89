# SPDX-License-Identifier: Apache-2.0
"""DNS itself: EDNS, truncation, broken queries, forwarding; and the two HTTP endpoints."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSHeader, DNSRecord

from pytest_cniconformance.lab.dns.service import DnsService
from pytest_cniconformance.lab.dns.upstream import Address, host_port, read_message
from tests.lab_dns.conftest import Client, Start, endpoint, endpoints, eventually
from tests.lab_dns.fake_api import FakeApi

BIG = "db.y.svc.cluster.local"


@pytest.fixture
def big(client: Client) -> Client:
    """A headless Service of 40 endpoints: more than 512 bytes, less than 1232."""
    client.api.put(endpoints("db", "y", *(endpoint(f"10.244.2.{n}") for n in range(1, 41))))
    client.until(lambda: len(client.values(BIG, tcp=True)) == 40, "40 endpoints")
    return client


def test_a_long_answer_is_truncated_over_udp_and_whole_over_tcp(big: Client) -> None:
    reply = big.ask(BIG)
    assert (reply.header.tc, reply.rr) == (1, [])
    assert len(reply.pack()) <= 512
    whole = big.ask(BIG, tcp=True)
    assert (whole.header.tc, len(whole.rr)) == (0, 40)


def test_edns_raises_the_limit(big: Client) -> None:
    reply = big.ask(BIG, edns=1232)
    assert (reply.header.tc, len(reply.rr)) == (0, 40)
    assert [QTYPE.get(rr.rtype) for rr in reply.ar] == ["OPT"]
    assert big.ask(BIG, edns=100).header.tc == 1
    assert not big.ask(BIG, tcp=True).ar


def test_edns_does_not_raise_it_beyond_what_a_packet_holds(big: Client) -> None:
    big.api.put(endpoints("db", "y", *(endpoint(f"10.244.3.{n}") for n in range(1, 101))))
    big.until(lambda: len(big.values(BIG, tcp=True)) == 100, "100 endpoints")
    assert big.ask(BIG, edns=65000).header.tc == 1


def raw(client: Client, query: bytes) -> DNSRecord:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(query, client.server.listening[0])
        return DNSRecord.parse(sock.recv(4096))


def test_queries_that_make_no_sense_are_answered_as_such(client: Client) -> None:
    header = DNSHeader(id=7, rd=1)
    assert raw(client, DNSRecord(header).pack()).header.rcode == RCODE.FORMERR
    cut = DNSRecord(DNSHeader(id=8, q=1)).pack() + b"\x05ab"
    assert raw(client, cut).header.id == 8
    update = DNSRecord.question("web.x.svc.cluster.local")
    update.header.opcode = 5
    assert raw(client, update.pack()).header.rcode == RCODE.NOTIMP
    assert client.values("web.x.svc.cluster.local") == ["10.96.0.20"]


def test_a_reply_is_no_query(client: Client) -> None:
    """Answering replies would let two servers talk to each other for ever."""
    reply = DNSRecord.question("web.x.svc.cluster.local").reply()
    host, port = client.server.listening[0]
    with socket.create_connection((host, port), timeout=5) as sock:
        packed = reply.pack()
        sock.sendall(len(packed).to_bytes(2, "big") + packed)
        assert sock.recv(1) == b""


@contextlib.contextmanager
def upstream() -> Iterator[Address]:
    """A server that knows one name, over UDP and TCP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        address: Address = tcp.getsockname()
        udp.bind(address)

        def answer(query: bytes) -> bytes:
            reply = DNSRecord.parse(query).reply(aa=0)
            if str(reply.q.qname) == "www.example.org.":
                reply.add_answer(RR("www.example.org", rdata=A("192.0.2.80"), ttl=60))
            else:
                reply.header.rcode = RCODE.NXDOMAIN
            packed: bytes = reply.pack()
            return packed

        def over_udp() -> None:
            while (got := udp.recvfrom(4096))[0]:
                udp.sendto(answer(got[0]), got[1])

        def over_tcp() -> None:
            while True:
                connection, _ = tcp.accept()
                with connection:
                    query = read_message(connection)
                    if query is None:
                        return
                    packed = answer(query)
                    connection.sendall(len(packed).to_bytes(2, "big") + packed)

        threads = [threading.Thread(target=target) for target in (over_udp, over_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield address
        finally:
            udp.sendto(b"", address)
            socket.create_connection(address).close()
            for thread in threads:
                thread.join(5)


def test_other_names_come_from_upstream(start: Start) -> None:
    with upstream() as address:
        client = start(upstreams=[address])
        for tcp in (False, True):
            assert client.values("www.example.org", tcp=tcp) == ["192.0.2.80"]
        assert client.rcode("nothing.example.org") == "NXDOMAIN"
        reply = client.ask("outside.x.svc.cluster.local")
        assert [str(rr.rdata) for rr in reply.rr] == ["www.example.org.", "192.0.2.80"]


def test_the_second_upstream_is_asked_when_the_first_is_dead(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, upstream() as address:
        mute.bind(("127.0.0.1", 0))
        client = start(upstreams=[mute.getsockname(), address])
        assert client.values("www.example.org") == ["192.0.2.80"]


def test_without_upstream_other_names_fail(start: Start) -> None:
    client = start()
    assert client.rcode("www.example.org") == "SERVFAIL"
    assert [str(rr.rdata) for rr in client.ask("outside.x.svc.cluster.local").rr] == ["www.example.org."]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    assert start(upstreams=[address]).rcode("www.example.org") == "SERVFAIL"


def test_a_slow_upstream_holds_nobody_up(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        client = start(upstreams=[mute.getsockname()])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            for name in ("www.example.org", "web.x.svc.cluster.local"):
                sock.sendto(DNSRecord.question(name).pack(), client.server.listening[0])
            answers = [DNSRecord.parse(sock.recv(4096)) for _ in range(2)]
    assert [str(answer.q.qname) for answer in answers] == ["web.x.svc.cluster.local.", "www.example.org."]


def test_health_and_readiness_are_two_things(api: FakeApi) -> None:
    api.fail_next = [503] * 3
    server = DnsService(api=api.url)
    free = ("127.0.0.1", 0)
    server.start(dns=[free], health=free, ready=free)
    try:
        health, ready = (f"http://{host}:{port}" for host, port in (server.health, server.ready))
        assert status(f"{health}/health") == 200
        assert status(f"{health}/other") == 404
        eventually(lambda: status(f"{ready}/ready") == 200, "a ready server")
    finally:
        server.stop()


def test_before_the_first_list_nothing_is_denied() -> None:
    """An NXDOMAIN of a server that does not know yet would be believed."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as closed:
        closed.bind(("127.0.0.1", 0))
        server = DnsService(api=f"http://127.0.0.1:{closed.getsockname()[1]}")
        server.start(dns=[("127.0.0.1", 0)], health=None, ready=("127.0.0.1", 0))
        try:
            assert Client(server, None).rcode("web.x.svc.cluster.local") == "SERVFAIL"  # type: ignore[arg-type]
            assert status(f"http://127.0.0.1:{server.ready[1]}/ready") == 503
        finally:
            server.stop()


def status(url: str) -> int:
    try:
        with urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
        ("[fd00::1]", ("fd00::1", 53)),
        ("fd00::1", ("fd00::1", 53)),
        (":5353", ("", 5353)),
    ],
)
def test_addresses_are_read_as_they_are_written(text: str, expected: Address) -> None:
    assert host_port(text, 53) == expected
