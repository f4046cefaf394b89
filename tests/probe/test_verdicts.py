# SPDX-License-Identifier: Apache-2.0
"""Every way in which a network can answer gets its own verdict, with the reason as evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.model.verdict import Observation, Probe, Protocol, Verdict
from pytest_cniconformance.probe import Fleet, Window

if TYPE_CHECKING:
    from tests.probe.conftest import Network

WINDOW = Window(0.3)
FAMILIES = ["ipv4", "ipv6"]


def ask(fleet: Fleet, host: str, port: int, protocol: str = "TCP", **options: Any) -> Observation:
    window = options.pop("window", WINDOW)
    return fleet.probe([Probe("x/a", host, port, Protocol(protocol), **options)], window=window)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_open_names_the_responder_and_the_peer_it_saw(
    network: Network, fleet: Fleet, family: str, protocol: str
) -> None:
    found = ask(fleet, network.ip("b", family), 80, protocol, expect_responder="x/b")
    assert found.verdict is Verdict.OPEN, found
    assert found.responder == "x/b"
    assert network.ip("a", family) in found.peer_seen
    assert found.attempts == 1
    assert found.latency_ms is not None and 0 < found.latency_ms < 300


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("protocol", "cause"), [("TCP", "RST"), ("UDP", "port unreachable")])
def test_closed_port_is_refused(
    network: Network, fleet: Fleet, family: str, protocol: str, cause: str
) -> None:
    found = ask(fleet, network.ip("b", family), 4444, protocol)
    assert found.verdict is Verdict.REFUSED, found
    assert cause in found.cause


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_drop_is_dropped_after_three_attempts_and_the_whole_window(
    network: Network, fleet: Fleet, family: str, protocol: str
) -> None:
    network.filter(f"{'ip' if family == 'ipv4' else 'ip6'} daddr {network.ip('b', family)} drop")
    found = ask(fleet, network.ip("b", family), 80, protocol)
    assert found.verdict is Verdict.DROPPED, found
    assert found.attempts == 3
    assert found.window_ms is not None and found.window_ms >= 300


def test_reject_with_reset_is_refused(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 reject with tcp reset")
    assert ask(fleet, network.ip("b"), 80).verdict is Verdict.REFUSED


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("kind", ["admin-prohibited", "port-unreachable"])
def test_icmp_reject_is_refused_and_its_cause_is_told(
    network: Network, fleet: Fleet, family: str, protocol: str, kind: str
) -> None:
    network.filter(f"{protocol.lower()} dport 80 reject with icmpx {kind}")
    found = ask(fleet, network.ip("b", family), 80, protocol)
    assert found.verdict is Verdict.REFUSED, found
    wanted = "administratively prohibited" if kind == "admin-prohibited" else "port unreachable"
    assert wanted in found.cause
    assert "ICMP" in found.cause


def test_icmp_host_unreachable_is_unreachable(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 reject with icmp host-unreachable")
    found = ask(fleet, network.ip("b"), 80)
    assert found.verdict is Verdict.UNREACHABLE, found
    assert "ICMP 3/1" in found.cause


@pytest.mark.parametrize("address", ["10.99.0.1", "fd99::1"])
def test_no_route_is_unreachable(network: Network, fleet: Fleet, address: str) -> None:
    found = ask(fleet, address, 80)
    assert found.verdict is Verdict.UNREACHABLE, found


def test_name_that_does_not_resolve_is_dns_failed(fleet: Fleet) -> None:
    found = ask(fleet, "nobody.invalid", 80)
    assert found.verdict is Verdict.DNS_FAILED, found
    assert "nobody.invalid" in found.cause


def test_wrong_responder_is_neither_open_nor_denied(network: Network, fleet: Fleet) -> None:
    found = ask(fleet, network.ip("b"), 80, expect_responder="x/c")
    assert found.verdict is Verdict.PROBE_ERROR
    assert found.cause == "answered by x/b, not by x/c"
    assert found.responder == "x/b"


def test_server_that_closes_after_accept_is_refused(network: Network, fleet: Fleet) -> None:
    network.python(
        "b",
        """
        import socket
        listener = socket.create_server(("", 9000))
        print("ready", flush=True)
        while True:
            listener.accept()[0].close()
        """,
    )
    found = ask(fleet, network.ip("b"), 9000)
    assert found.verdict is Verdict.REFUSED, found
    assert "after accept" in found.cause
    assert ask(fleet, network.ip("b"), 9000, talk=False).verdict is Verdict.OPEN


def test_server_that_never_answers_is_silent_but_known_to_be_connected(
    network: Network, fleet: Fleet
) -> None:
    network.python(
        "b",
        """
        import socket, time
        listener = socket.create_server(("", 9001))
        print("ready", flush=True)
        held = []
        while True:
            held.append(listener.accept())
        """,
    )
    found = ask(fleet, network.ip("b"), 9001)
    assert found.verdict is Verdict.DROPPED
    assert found.cause == "connected, then silence"
    assert found.extra["connected"]


HTTP = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1])); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def test_http_403_is_http_denied(network: Network, fleet: Fleet) -> None:
    network.python("b", HTTP, "403", "9003")
    found = ask(fleet, network.ip("b"), 9003, http={"method": "GET", "path": "/"})
    assert found.verdict is Verdict.HTTP_DENIED, found
    assert found.http_status == 403


def test_http_503_of_a_proxy_proves_nothing(network: Network, fleet: Fleet) -> None:
    network.python("b", HTTP, "503", "9004")
    found = ask(fleet, network.ip("b"), 9004, http={})
    assert found.verdict is Verdict.PROBE_ERROR
    assert "503" in found.cause


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
def test_every_tcp_port_answers_http_too(network: Network, fleet: Fleet, method: str) -> None:
    found = ask(
        fleet,
        network.ip("b"),
        80,
        http={"method": method, "path": "/infer", "headers": {"x-key": "1"}, "body": "hello"},
        expect_responder="x/b",
    )
    assert found.verdict is Verdict.OPEN, found
    assert (found.http_status, found.responder) == (200, "x/b")


@pytest.mark.parametrize(
    ("protocol", "size"), [("TCP", 1), ("TCP", 1_000_000), ("UDP", 1400), ("UDP", 60_000)]
)
def test_payload_comes_back_whole(network: Network, fleet: Fleet, protocol: str, size: int) -> None:
    found = ask(fleet, network.ip("b"), 80, protocol, payload=size)
    assert found.verdict is Verdict.OPEN, found


def test_payload_lost_on_the_path_is_silence_after_the_handshake(network: Network, fleet: Fleet) -> None:
    network.filter("meta length > 1000 drop")
    found = ask(fleet, network.ip("b"), 80, payload=5000)
    assert found.verdict is Verdict.DROPPED, found
    assert found.extra["connected"]


def test_protocol_that_the_kernel_lacks_is_a_probe_error(network: Network, fleet: Fleet) -> None:
    if "SCTP" in fleet.open(["x/a"])["x/a"].protocols:
        pytest.skip("this kernel has SCTP")
    found = ask(fleet, network.ip("b"), 80, "SCTP")
    assert found.verdict is Verdict.PROBE_ERROR
    assert "SCTP" in found.cause


def test_slow_path_is_open_within_a_window_made_for_it(network: Network, fleet: Fleet) -> None:
    network.python(
        "b",
        """
        import json, socket, threading
        listener = socket.create_server(("", 9005))
        print("ready", flush=True)
        def serve(sock):
            line = sock.makefile("rb").readline()
            # Nothing but a clock can stand for a slow path.
            threading.Event().wait(0.5)
            sock.sendall(json.dumps({"n": json.loads(line)["n"], "i": "slow", "p": "", "b": 0}).encode() + b"\\n")
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],)).start()
        """,
    )
    found = ask(fleet, network.ip("b"), 9005, window=Window(1.5))
    assert found.verdict is Verdict.OPEN, found
    assert found.latency_ms is not None and found.latency_ms > 400
