# SPDX-License-Identifier: Apache-2.0
"""A DNS server on loopback, before it a scripted API with one small cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("dnslib", reason="the lab's extras are not installed")

from dnslib import EDNS0, QTYPE, RCODE, DNSRecord

from pytest_cniconformance.lab.dns.service import DnsService
from tests.lab_dns.fake_api import FakeApi

DOMAIN = "cluster.local"
Start = Callable[..., "Client"]


def service(
    name: str, namespace: str, *ips: str, ports: list[dict[str, Any]] | None = None, **spec: Any
) -> dict[str, Any]:
    spec = {
        "clusterIP": ips[0] if ips else "None",
        "clusterIPs": list(ips) or ["None"],
        "ports": ports or [],
        **spec,
    }
    return {"kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def endpoints(
    owner: str, namespace: str, *entries: dict[str, Any], name: str = "", ports: Any = None
) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": owner}
    family = "IPv6" if entries and ":" in entries[0]["addresses"][0] else "IPv4"
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": name or f"{owner}-1", "namespace": namespace, "labels": labels},
        "addressType": family,
        "endpoints": list(entries),
        "ports": ports or [],
    }


def endpoint(address: str, *, ready: bool | None = True, hostname: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
    return {**made, "hostname": hostname} if hostname else made


class Client:
    """Asks one server."""

    def __init__(self, server: DnsService, api: FakeApi) -> None:
        self.server, self.api = server, api

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False, edns: int = 0) -> DNSRecord:
        query = DNSRecord.question(name, kind)
        if edns:
            query.add_ar(EDNS0(udp_len=edns))
        host, port = self.server.listening[0]
        reply = DNSRecord.parse(query.send(host, port, tcp=tcp, timeout=8))
        assert reply.header.id == query.header.id
        return reply

    def values(self, name: str, kind: str = "A", **options: Any) -> list[str]:
        """The answers of the asked type, sorted."""
        reply = self.ask(name, kind, **options)
        assert reply.header.rcode == RCODE.NOERROR, RCODE.get(reply.header.rcode)
        return sorted(str(rr.rdata) for rr in reply.rr if QTYPE.get(rr.rtype) == kind)

    def rcode(self, name: str, kind: str = "A") -> str:
        return str(RCODE.get(self.ask(name, kind).header.rcode))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        eventually(condition, what)


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never saw {what}"
        time.sleep(0.005)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    http = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    fake.put(service("web", "x", "10.96.0.20", ports=http))
    fake.put(service("dual", "x", "10.96.0.21", "fd00:10:96::21"))
    fake.put(service("web", "y", "10.96.0.30"))
    fake.put(service("db", "y", ports=[{"name": "pg", "port": 5432, "protocol": "TCP"}]))
    fake.put(
        endpoints(
            "db",
            "y",
            endpoint("10.244.1.5", hostname="db-0"),
            endpoint("10.244.1.6", ready=None),
            endpoint("10.244.1.7", ready=False),
            ports=[{"name": "pg", "port": 5433, "protocol": "TCP"}],
        )
    )
    fake.put(
        service("alias", "x", type="ExternalName", externalName="web.y.svc.cluster.local.", clusterIP="")
    )
    fake.put(service("outside", "x", type="ExternalName", externalName="www.example.org", clusterIP=""))
    yield fake
    fake.close()


@pytest.fixture
def start(api: FakeApi) -> Iterator[Start]:
    """Start a server; with ``faults``, ``upstreams`` and so on as of ``DnsService``."""
    with contextlib.ExitStack() as stack:

        def start_server(*faults: str, **options: Any) -> Client:
            server = DnsService(
                api=api.url, domain=DOMAIN, faults=frozenset(faults), upstream_timeout=0.3, **options
            )
            stack.callback(server.stop)
            free = ("127.0.0.1", 0)
            server.start(dns=[free], health=free, ready=free)
            eventually(lambda: server.synced, "a synced server")
            return Client(server, api)

        yield start_server


@pytest.fixture
def client(start: Start) -> Client:
    return start()
