# SPDX-License-Identifier: Apache-2.0
"""Names are asked for by hand: type, server, transport, search path; and the answer is told in full."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.probe.agent.dns import candidates, resolv_conf
from pytest_cniconformance.probe.agent.dnsmessage import dns_name, dns_parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_cniconformance.probe import Fleet
    from tests.probe.conftest import Network

SERVER = """
import socketserver, struct, threading
from dnslib import RR, QTYPE, DNSRecord, RCODE
ZONE = '''
web.svc.cluster.local. 5 IN A 10.0.0.1
web.svc.cluster.local. 5 IN A 10.0.0.2
web.svc.cluster.local. 5 IN AAAA fd00::1
alias.test. 5 IN CNAME web.svc.cluster.local.
_http._tcp.web.test. 5 IN SRV 10 20 80 web.svc.cluster.local.
1.0.0.10.in-addr.arpa. 5 IN PTR web.svc.cluster.local.
text.test. 5 IN TXT "a b" "c"
'''
RECORDS = RR.fromZone(ZONE)
def reply(data, tcp):
    request = DNSRecord.parse(data)
    name, kind = str(request.q.qname), QTYPE[request.q.qtype]
    answer = request.reply()
    known = [r for r in RECORDS if str(r.rname).lower() == name.lower()]
    for record in known:
        if QTYPE[record.rtype] == kind:
            answer.add_answer(record)
    if not known and name != "big.test.":
        answer.header.rcode = RCODE.NXDOMAIN
    if name == "big.test.":
        if tcp:
            answer.add_answer(*RR.fromZone("big.test. 5 IN A 10.0.0.9"))
        else:
            answer.header.tc = 1
    return answer.pack()
class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        name = str(DNSRecord.parse(self.request[0]).q.qname)
        kind = QTYPE[DNSRecord.parse(self.request[0]).q.qtype]
        if name == "silent.test." or (name == "torn.test." and kind == "AAAA"):
            return
        self.request[1].sendto(reply(self.request[0], False), self.client_address)
class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        size, = struct.unpack("!H", self.rfile.read(2))
        data = reply(self.rfile.read(size), True)
        self.wfile.write(struct.pack("!H", len(data)) + data)
socketserver.TCPServer.allow_reuse_address = True
udp = socketserver.ThreadingUDPServer(("", 53), Udp)
tcp = socketserver.ThreadingTCPServer(("", 53), Tcp)
threading.Thread(target=udp.serve_forever, daemon=True).start()
print("ready", flush=True)
tcp.serve_forever()
"""


@pytest.fixture
def server(network: Network) -> Iterator[str]:
    pytest.importorskip("dnslib")
    network.python("b", SERVER)
    yield network.ip("b")


def ask(fleet: Fleet, server: str, name: str, kind: str = "A", **options: Any) -> dict[str, Any]:
    return fleet.request("x/a", "resolve", name=name, type=kind, server=server, **options)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("web.svc.cluster.local.", "A", ["10.0.0.1", "10.0.0.2"]),
        ("web.svc.cluster.local.", "AAAA", ["fd00::1"]),
        ("alias.test.", "CNAME", ["web.svc.cluster.local."]),
        ("_http._tcp.web.test.", "SRV", [[10, 20, 80, "web.svc.cluster.local."]]),
        ("1.0.0.10.in-addr.arpa.", "PTR", ["web.svc.cluster.local."]),
        ("text.test.", "TXT", [["a b", "c"]]),
    ],
)
def test_record_types(fleet: Fleet, server: str, name: str, kind: str, values: list[Any], tcp: bool) -> None:
    final = ask(fleet, server, name, kind, tcp=tcp)["final"]
    assert final["rcode"] == "NOERROR"
    assert sorted(a["value"] for a in final["answers"]) == values
    assert final["us"] > 0


def test_unknown_name_is_nxdomain(fleet: Fleet, server: str) -> None:
    final = ask(fleet, server, "nobody.test.")["final"]
    assert (final["rcode"], final["answers"]) == ("NXDOMAIN", [])


def test_truncated_answer_says_so_and_is_whole_over_tcp(fleet: Fleet, server: str) -> None:
    assert ask(fleet, server, "big.test.")["final"]["truncated"] is True
    final = ask(fleet, server, "big.test.", tcp=True)["final"]
    assert (final["truncated"], final["answers"][0]["value"]) == (False, "10.0.0.9")


@pytest.mark.parametrize("tcp", [False, True])
def test_silent_server_is_told(network: Network, fleet: Fleet, server: str, tcp: bool) -> None:
    network.filter(f"ip daddr {server} drop")
    final = ask(fleet, server, "web.svc.cluster.local.", wait=200, tcp=tcp)["final"]
    assert final["error"] == "no answer in 200 ms"
    assert final["rcode"] == ""


def test_absent_server_is_told(network: Network, fleet: Fleet) -> None:
    assert "refused" in ask(fleet, network.ip("c"), "x.test.")["final"]["error"].lower()


def test_search_path_is_expanded_as_a_resolver_does(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 10.96.0.10\nsearch x.svc.cluster.local svc.cluster.local\noptions ndots:5\n")
    config = resolv_conf(str(file))
    assert config["nameservers"] == ["10.96.0.10"]
    tail = ["web.x.svc.cluster.local.", "web.svc.cluster.local.", "web."]
    assert candidates("web", config) == tail
    assert candidates("web.", config) == ["web."]
    assert candidates("a.b.c.d.e.f", config)[0] == "a.b.c.d.e.f."


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_malformed_answers_are_errors_not_crashes(cut: int) -> None:
    dnslib = pytest.importorskip("dnslib")
    reply = dnslib.DNSRecord.question("a.test").reply()
    reply.add_answer(*dnslib.RR.fromZone("a.test. 5 IN A 10.0.0.1"))
    data = reply.pack()
    assert dns_parse(data)["answers"][0]["value"] == "10.0.0.1"
    with pytest.raises((ValueError, IndexError, struct.error, OSError)):
        dns_parse(data[:cut])
    with pytest.raises(ValueError, match="points to itself"):
        dns_name(b"\xc0\x00", 0)


@pytest.mark.parametrize(
    ("name", "lost", "torn"),
    [
        ("web.svc.cluster.local.", {}, 0),
        ("torn.test.", {"AAAA": 3}, 3),
        ("silent.test.", {"A": 3, "AAAA": 3}, 0),
    ],
)
def test_pairs_that_lost_one_answer_are_told_from_those_that_lost_both(
    fleet: Fleet, server: str, name: str, lost: dict[str, int], torn: int
) -> None:
    options = {"n": 3, "types": ["A", "AAAA"], "wait": 200}
    found = fleet.request("x/a", "lookups", name=name, server=server, **options)
    assert (found["lost"], found["torn"]) == (lost, torn)
    assert [took is None for took in found["samples"]] == [bool(lost)] * 3
