# SPDX-License-Identifier: Apache-2.0
"""Questions beside probes have typed answers; what the network did is a value, never an exception."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.probe import names, questions
from pytest_cniconformance.probe.session import AgentError
from tests.probe.conftest import WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.probe import AgentSession, Fleet
    from tests.probe.conftest import Network

HTTP = """
    import socket, sys
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 90))
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as file:
            for status in sys.argv[1:]:
                while file.readline().strip():
                    pass
                body = b"x" * int(status)
                file.write(b"HTTP/1.1 %s Said\\r\\nContent-Length: %d\\r\\n\\r\\n" % (status.encode(), len(body)) + body)
                file.flush()
"""
THIEF = """
    import json, socket
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 91))
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as file:
            request = json.loads(file.readline())
            given, taken = request.get("g", 0), request.get("l", 0)
            payload = file.read(taken)
            file.write(json.dumps({"n": 0, "i": "thief", "b": len(payload), "h": "0" * 64}).encode() + b"\\n")
            file.write(b"x" * given)
"""


@pytest.fixture
def agent(fleet: Fleet) -> AgentSession:
    return fleet.session("x/a")


@pytest.fixture
def serving(network: Network) -> Iterator[subprocess.Popen[bytes]]:
    """An HTTP server in pod c that answers 200, 403, 204 and then hangs up."""
    process = network.python("c", HTTP, "200", "403", "204")
    yield process
    network.stop(process)


def test_round_trips_are_microseconds_or_none(network: Network, agent: AgentSession) -> None:
    samples = questions.round_trips(agent, network.ip("b"), 80, 5)
    assert len(samples) == 5
    assert all(sample is not None and sample > 0 for sample in samples)
    assert questions.round_trips(agent, network.ip("b"), 4444, 2) == [None, None]


@pytest.mark.parametrize("down", [False, True])
def test_transfer_arrives_intact(network: Network, agent: AgentSession, down: bool) -> None:
    found = questions.transfer(agent, network.ip("b"), 80, 1_000_001, down=down)
    assert found == questions.Transfer(True, 1_000_001)


@pytest.mark.parametrize("down", [False, True])
def test_altered_transfer_is_not_intact(network: Network, agent: AgentSession, down: bool) -> None:
    network.python("c", THIEF)
    found = questions.transfer(agent, network.ip("c"), 91, 1_000_001, down=down)
    assert (found.intact, found.moved) == (False, 1_000_001)
    assert "another hash" in found.error


def test_transfer_that_cannot_start_tells_why(network: Network, agent: AgentSession) -> None:
    found = questions.transfer(agent, network.ip("b"), 4444, 1000)
    assert (found.intact, found.moved) == (False, 0)
    assert "refused" in found.error


def test_connections_are_counted_by_responder_else_by_verdict(network: Network, agent: AgentSession) -> None:
    found = questions.connect_many(agent, network.ip("b"), 80, 50, parallel=10)
    assert found == questions.Connections({"x/b": 50}, {})
    assert found.ok == 50
    refused = questions.connect_many(agent, network.ip("b"), 4444, 4)
    assert refused == questions.Connections({}, {"refused": 4}, {"connection refused (RST)": 4})
    assert refused.ok == 0


def test_connections_to_a_name_without_address_are_dns_failures(agent: AgentSession) -> None:
    found = questions.connect_many(agent, "no-such-name.invalid", 80, 3)
    assert found.failed == {"dns-failed": 3} and sum(found.causes.values()) == 3


def test_name_that_nobody_answers_for_is_an_answer(agent: AgentSession) -> None:
    found = names.resolve(agent, "web.invalid.", wait_ms=200)
    assert found.addresses == ()
    assert str(found) == (found.rcode or found.error)
    assert str(found)


def test_own_addresses_and_ports_are_told(network: Network, agent: AgentSession) -> None:
    assert set(questions.addresses(agent)) == {network.ip("a"), network.ip("a", "ipv6")}
    assert questions.host_port(agent) == 80
    assert questions.host_port(agent, "UDP") == 80


def test_http_statuses_come_in_order_on_one_connection(
    network: Network, agent: AgentSession, serving: subprocess.Popen[bytes]
) -> None:
    requests = [("GET", "/"), ("POST", "/denied"), ("GET", "/empty")]
    assert questions.http_session(agent, network.ip("c"), 90, requests) == ([200, 403, 204], "")


def test_http_connection_that_ends_early_is_told(
    network: Network, agent: AgentSession, serving: subprocess.Popen[bytes]
) -> None:
    requests = [("GET", "/")] * 5
    statuses, error = questions.http_session(agent, network.ip("c"), 90, requests)
    assert statuses == [200, 403, 204]
    assert error


def test_http_connection_is_kept_by_the_agents_own_server(network: Network, agent: AgentSession) -> None:
    before = counted(agent)
    requests = [("GET", "/"), ("PUT", "/x"), ("GET", "/y")]
    assert questions.http_session(agent, network.ip("a"), 80, requests) == ([200, 200, 200], "")
    connections, asked = counted(agent)
    assert (connections - before[0], asked - before[1]) == (1, 3)


def counted(agent: AgentSession) -> tuple[int, int]:
    """Connections and requests on 80/TCP of the agent's own pod."""
    found = agent.request("counters")["counters"]["TCP/80"]
    return found["connections"], found["requests"]


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_an_agent_serves_one_more_port_while_its_session_lasts(
    network: Network, fleet: Fleet, protocol: str
) -> None:
    server = fleet.session("x/b")
    port = questions.listen(server, 0, protocol)
    assert questions.listen(server, port, protocol) == port
    probe = Probe("x/a", network.ip("b"), port, Protocol(protocol), expect_responder="x/b")
    (seen,) = fleet.probe([probe], window=WINDOW)
    assert seen.verdict is Verdict.OPEN
    with pytest.raises(AgentError, match="Address already in use"):
        questions.listen(server, 80, protocol)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_echo_requests_are_counted_and_silence_is_a_value(
    network: Network, fleet: Fleet, agent: AgentSession, family: str
) -> None:
    target = network.ip("b", family)
    with pytest.raises(AgentError, match="PermissionError"):
        questions.echo(agent, target)
    everyone = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"
    subprocess.run([*network.prefix_argv("a"), "sh", "-c", everyone], check=True)
    found = questions.echo(agent, target)
    assert found.answered and len(found.microseconds) == found.sent == 3
    network.filter("meta l4proto { icmp, icmpv6 } drop")
    assert not questions.echo(agent, target, wait_ms=100).answered
    network.filter("meta l4proto { icmp, icmpv6 } reject with icmpx admin-prohibited")
    assert "prohibited" in questions.echo(agent, target).cause
    nobody = everyone.replace("0 2147483647", "1 0")
    subprocess.run([*network.prefix_argv("a"), "sh", "-c", nobody], check=True)


@pytest.mark.parametrize("host", ["10.77.1.1", "fd77:1::1"])
def test_the_owner_of_an_address_is_found_beside_links_that_are_down(
    agent: AgentSession, network: Network, host: str
) -> None:
    """A machine that runs pytest has links of all kinds; a packet socket on one that is down wakes with an error."""
    router = network.run("router", "cat", "/sys/class/net/v1/address").strip()
    network.run("a", "ip", "link", "add", "idle", "type", "veth", "peer", "name", "idle-too")
    try:
        assert questions.link_owners(agent, host).owners == (router,)
        assert questions.link_owners(agent, host[:-1] + "9") == questions.LinkOwners(())
    finally:
        network.run("a", "ip", "link", "del", "idle")


def test_an_owner_that_ceased_to_answer_is_remembered(agent: AgentSession, network: Network) -> None:
    router = network.run("router", "cat", "/sys/class/net/v1/address").strip()
    network.run("a", "ip", "neigh", "replace", "10.77.1.1", "lladdr", router, "dev", "eth0", "nud", "stale")
    network.run("router", "sysctl", "-qw", "net.ipv4.conf.v1.arp_ignore=8")
    try:
        assert questions.link_owners(agent, "10.77.1.1") == questions.LinkOwners((), remembered=router)
    finally:
        network.run("router", "sysctl", "-qw", "net.ipv4.conf.v1.arp_ignore=0")
