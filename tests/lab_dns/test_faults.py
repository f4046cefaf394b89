# SPDX-License-Identifier: Apache-2.0
"""Each fault breaks what it names, and nothing else."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from dnslib import DNSRecord

from pytest_cniconformance.lab.dns.__main__ import FAULTS, parser
from pytest_cniconformance.lab.dns.cluster import Cluster
from pytest_cniconformance.lab.dns.responder import SLOW_SECONDS, Responder
from pytest_cniconformance.lab.dns.upstream import Upstream
from pytest_cniconformance.lab.dns.zone import Zone
from tests.lab_dns.conftest import Start, service

WEB_X, WEB_Y, DB = (f"{name}.svc.cluster.local" for name in ("web.x", "web.y", "db.y"))


def pod(name: str, namespace: str, address: str, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {},
        "status": {"podIPs": [{"ip": address}], **status},
    }


def test_names_of_other_namespaces_do_not_exist(start: Start) -> None:
    client = start("dns-nxdomain-cross-namespace")
    assert client.values(WEB_Y) == ["10.96.0.30"]  # nobody knows where we are
    client.api.put(pod("me", "x", "127.0.0.1"))
    client.until(lambda: client.rcode(WEB_Y) == "NXDOMAIN", "NXDOMAIN across namespaces")
    assert client.values(WEB_X) == ["10.96.0.20"]
    assert client.rcode("_tcp.web.y.svc.cluster.local") == "NXDOMAIN"
    client.api.put(pod("me", "x", "127.0.0.1", phase="Succeeded"))
    client.until(lambda: client.rcode(WEB_Y) == "NOERROR", "a pod that has finished")


def test_a_headless_service_has_one_address_that_is_nobodys(start: Start) -> None:
    client = start("dns-headless-cluster-ip")
    (address,) = client.values(DB)
    assert not address.startswith("10.244.")
    assert client.values(WEB_X) == ["10.96.0.20"]


def test_missing_names_are_server_failures(start: Start) -> None:
    client = start("dns-nxdomain-as-servfail")
    assert client.rcode("none.x.svc.cluster.local") == "SERVFAIL"
    assert client.values(WEB_X, "AAAA") == []


def test_external_names_are_missing(start: Start) -> None:
    client = start("dns-externalname-dropped")
    assert client.rcode("alias.x.svc.cluster.local") == "NXDOMAIN"
    assert client.values(WEB_Y) == ["10.96.0.30"]


def test_tcp_is_closed_without_an_answer(start: Start) -> None:
    client = start("dns-tcp-broken")
    with socket.create_connection(client.server.listening[0], timeout=5) as sock:
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    assert client.values(WEB_X) == ["10.96.0.20"]


def test_a_service_has_the_address_of_another(start: Start) -> None:
    client = start("dns-wrong-service-address")
    assert client.values(WEB_X) == ["10.96.0.30"]
    assert client.values(WEB_Y) == ["10.96.0.20"]
    assert len(client.values(DB)) == 2


@pytest.mark.parametrize(
    ("asked", "pauses"),
    [
        ([("a", "A")], [5.0]),
        ([("a", "A"), ("a", "A")], [5.0]),
        ([("a", "A"), ("a", "AAAA")], [5.0, 5.0]),
        ([("a", "A"), ("b", "A"), ("B", "A")], [5.0, 5.0]),
    ],
)
def test_one_of_two_queries_is_lost(asked: list[tuple[str, str]], pauses: list[float]) -> None:
    slept: list[float] = []
    cluster = Cluster()
    cluster.replace_services([service("a", "x", "10.96.0.1"), service("b", "x", "10.96.0.2")])
    faults = frozenset({"dns-slow"})
    responder = Responder(Zone(cluster, "cluster.local"), Upstream([]), faults=faults, sleep=slept.append)
    for name, kind in asked:
        query = DNSRecord.question(f"{name}.x.svc.cluster.local", kind).pack()
        reply = responder.answer(query, "10.244.0.1", tcp=False)
        assert reply is not None
        assert DNSRecord.parse(reply).header.rcode == 0
    assert slept == pauses
    assert pauses[0] == SLOW_SECONDS


def test_the_command_line_knows_exactly_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    given = [text for fault in FAULTS for text in ("--fault", fault)]
    assert tuple(parser().parse_args(["--api", "http://x", *given]).fault) == FAULTS
    with pytest.raises(SystemExit):
        parser().parse_args(["--api", "http://x", "--fault", "dns-slo"])
    assert "dns-slow" in capsys.readouterr().err
