# SPDX-License-Identifier: Apache-2.0
"""Every kind of name of the Kubernetes DNS specification, over UDP and TCP."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE

from tests.lab_dns.conftest import Client, endpoint, endpoints, service


@pytest.mark.parametrize("tcp", [False, True])
def test_a_service_has_the_address_of_its_cluster_ip(client: Client, tcp: bool) -> None:
    assert client.values("web.x.svc.cluster.local", tcp=tcp) == ["10.96.0.20"]
    assert client.values("dual.x.svc.cluster.local", "AAAA", tcp=tcp) == ["fd00:10:96::21"]


def test_the_answer_is_authoritative_and_short_lived(client: Client) -> None:
    reply = client.ask("WEB.x.svc.Cluster.Local")
    assert (reply.header.aa, reply.header.ra, reply.header.tc) == (1, 1, 0)
    assert str(reply.rr[0].rname) == "WEB.x.svc.Cluster.Local."
    assert 5 <= reply.rr[0].ttl <= 30


def test_a_missing_type_is_no_missing_name(client: Client) -> None:
    """NODATA: NOERROR without answer, with the SOA; NXDOMAIN: the SOA as well."""
    for name, code in (("web.x", RCODE.NOERROR), ("web.z", RCODE.NXDOMAIN), ("none.x", RCODE.NXDOMAIN)):
        reply = client.ask(f"{name}.svc.cluster.local", "AAAA")
        assert (reply.header.rcode, reply.rr) == (code, [])
        assert [QTYPE.get(rr.rtype) for rr in reply.auth] == ["SOA"]
        assert str(reply.auth[0].rname) == "cluster.local."


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cluster.local", "NOERROR"),
        ("svc.cluster.local", "NOERROR"),
        ("x.svc.cluster.local", "NOERROR"),
        ("z.svc.cluster.local", "NXDOMAIN"),
        ("_tcp.web.x.svc.cluster.local", "NOERROR"),
        ("_sctp.web.x.svc.cluster.local", "NXDOMAIN"),
        ("_http._tcp.web.x.svc.cluster.local", "NOERROR"),
        ("_nope._tcp.web.x.svc.cluster.local", "NXDOMAIN"),
        ("a.web.x.svc.cluster.local", "NXDOMAIN"),
        ("web.x.svc.cluster.local.x.svc.cluster.local", "NXDOMAIN"),
        ("web.x.cluster.local", "NXDOMAIN"),
    ],
)
def test_names_between_the_records(client: Client, name: str, code: str) -> None:
    assert client.rcode(name) == code


def test_a_headless_service_has_the_addresses_of_its_ready_endpoints(client: Client) -> None:
    assert client.values("db.y.svc.cluster.local") == ["10.244.1.5", "10.244.1.6"]
    assert client.values("db-0.db.y.svc.cluster.local") == ["10.244.1.5"]
    assert client.values("10-244-1-6.db.y.svc.cluster.local") == ["10.244.1.6"]
    assert client.rcode("10-244-1-7.db.y.svc.cluster.local") == "NXDOMAIN"
    assert client.values("db.y.svc.cluster.local", "AAAA") == []


def test_who_is_ready_is_for_the_slices_to_say(client: Client) -> None:
    client.api.put(service("db", "y", publishNotReadyAddresses=True))
    client.api.put(
        endpoints("db", "y", endpoint("10.244.1.5"), endpoint("10.244.1.7", ready=False), name="db-2")
    )
    client.api.put(endpoints("db", "y", endpoint("10.244.1.8"), name="db-3"))
    client.until(lambda: "10.244.1.8" in client.values("db.y.svc.cluster.local"), "the newest slice")
    assert "10.244.1.7" not in client.values("db.y.svc.cluster.local")


def test_a_headless_service_without_ready_endpoints_does_not_exist(client: Client) -> None:
    client.api.put(endpoints("db", "y", endpoint("10.244.1.7", ready=False)))
    client.until(lambda: client.rcode("db.y.svc.cluster.local") == "NXDOMAIN", "NXDOMAIN")


def test_endpoints_of_several_slices_and_families_are_one(client: Client) -> None:
    client.api.put(endpoints("db", "y", endpoint("10.244.1.8"), name="db-2"))
    client.api.put(endpoints("db", "y", endpoint("fd44::8"), name="db-3"))
    client.until(lambda: client.values("db.y.svc.cluster.local", "AAAA") == ["fd44::8"], "the IPv6 endpoint")
    assert client.values("db.y.svc.cluster.local") == ["10.244.1.5", "10.244.1.6", "10.244.1.8"]


def test_srv_of_a_service_names_it_and_its_port(client: Client) -> None:
    reply = client.ask("_http._tcp.web.x.svc.cluster.local", "SRV")
    assert [str(rr.rdata) for rr in reply.rr] == ["0 100 80 web.x.svc.cluster.local."]
    assert [str(rr.rdata) for rr in reply.ar] == ["10.96.0.20"]


def test_srv_of_a_headless_service_names_each_endpoint_and_its_own_port(client: Client) -> None:
    assert client.values("_pg._tcp.db.y.svc.cluster.local", "SRV") == [
        "0 50 5433 10-244-1-6.db.y.svc.cluster.local.",
        "0 50 5433 db-0.db.y.svc.cluster.local.",
    ]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("20.0.96.10.in-addr.arpa", "web.x.svc.cluster.local."),
        ("5.1.244.10.in-addr.arpa", "db-0.db.y.svc.cluster.local."),
        (
            "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
            "dual.x.svc.cluster.local.",
        ),
    ],
)
def test_an_address_of_the_cluster_has_a_name(client: Client, name: str, target: str) -> None:
    assert client.values(name, "PTR") == [target]


def test_an_external_name_is_an_alias(client: Client) -> None:
    reply = client.ask("alias.x.svc.cluster.local")
    assert [str(rr.rdata) for rr in reply.rr] == ["web.y.svc.cluster.local.", "10.96.0.30"]
    assert client.values("alias.x.svc.cluster.local", "CNAME") == ["web.y.svc.cluster.local."]


def test_aliases_that_run_in_a_circle_are_an_error(client: Client) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        target = f"{other}.x.svc.cluster.local"
        client.api.put(service(one, "x", type="ExternalName", externalName=target, clusterIP=""))
    client.until(lambda: client.rcode("a.x.svc.cluster.local") == "SERVFAIL", "SERVFAIL")


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("1-2-3-4.x.pod.cluster.local", "A", "1.2.3.4"),
        ("fd44--1.x.pod.cluster.local", "AAAA", "fd44::1"),
    ],
)
def test_a_pod_has_a_name_by_its_address(client: Client, name: str, kind: str, value: str) -> None:
    assert client.values(name, kind) == [value]


def test_other_pod_names_do_not_exist(client: Client) -> None:
    assert client.rcode("1-2-3-999.x.pod.cluster.local") == "NXDOMAIN"
    assert client.rcode("web.x.pod.cluster.local") == "NXDOMAIN"
    assert client.values("1-2-3-4.x.pod.cluster.local", "AAAA") == []


def test_the_version_of_the_specification(client: Client) -> None:
    assert client.values("dns-version.cluster.local", "TXT") == ['"1.1.0"']
    assert client.values("cluster.local", "NS") == ["ns.dns.cluster.local."]
