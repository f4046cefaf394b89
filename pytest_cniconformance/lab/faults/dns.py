# SPDX-License-Identifier: Apache-2.0
"""Faults of the cluster DNS and of the way to it."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import POLICY_PROFILES, Fault


def _dns(name: str, summary: str, mimics: str, *caught_by: str) -> Fault:
    return Fault(name, "dns", summary, mimics, caught_by)


_RECORDS = (
    _dns(
        "dns-nxdomain-cross-namespace",
        "names of Services in other namespaces do not exist",
        "kubernetes/kubernetes#66924; namespaces that CoreDNS does not expose: coredns/coredns#905",
        "DNS-XNS",
        "DNS-XNS-SVC",
        "DNS-API",
    ),
    _dns(
        "dns-wrong-service-address",
        "a Service's name resolves to another Service's address",
        "stale DNS records after a Service was re-created",
        "DNS-SVC",
        "DNS-ABSOLUTE",
        "CT-SVC-NAME",
    ),
    _dns(
        "dns-records-kept",
        "names of deleted Services keep resolving",
        "a DNS server that misses events while its watch is broken: coredns/coredns#3879",
        "DNS-DELETED",
    ),
    _dns(
        "dns-late-records",
        "a change reaches the DNS server 3 s late",
        "kubernetes/kubernetes#127259: records that come late",
        "DNS-PROPAGATION",
    ),
    _dns(
        "dns-headless-cluster-ip",
        "a headless Service resolves to one made-up address instead of its pods'",
        "stale DNS records after a Service became headless",
        "DNS-HEADLESS",
        "SVC-HEADLESS",
    ),
    _dns(
        "dns-headless-stale",
        "an endpoint that a headless Service once had stays in its answer",
        "stale endpoints after pods were replaced: coredns/coredns#3432",
        "DNS-HEADLESS-UPDATE",
    ),
    _dns(
        "dns-headless-unready",
        "endpoints that are not ready are in the answers of headless Services",
        "servers that ignore the conditions of EndpointSlices",
        "DNS-HEADLESS-READY",
    ),
    _dns(
        "dns-hostname-missing",
        "the hostname of an endpoint makes no name",
        "StatefulSet pods without names: kubernetes/kubernetes#45779",
        "DNS-HOSTNAME",
        "DNS-PTR-HEADLESS",
    ),
    _dns(
        "dns-srv-wrong-port",
        "SRV records carry another port number",
        "Service port, target port and node port confused",
        "DNS-SRV",
        "DNS-SRV-HEADLESS",
    ),
    _dns(
        "dns-ptr-missing",
        "reverse names of cluster addresses do not exist",
        "reverse zones that are not delegated to the kubernetes plugin",
        "DNS-PTR",
        "DNS-PTR-HEADLESS",
    ),
    _dns(
        "dns-pods-missing",
        "names made of pods' addresses do not exist although the configuration says so",
        "`pods disabled` after an upgrade of the Corefile",
        "DNS-POD",
    ),
    _dns(
        "dns-externalname-dropped",
        "Services of type ExternalName have no record",
        "coredns/coredns#665, #2492",
        "DNS-EXTERNALNAME",
        "DNS-CNAME",
        "SVC-EXTERNALNAME",
    ),
    _dns(
        "dns-version-missing",
        "the zone has no dns-version record",
        "servers that implement part of the DNS specification",
        "DNS-VERSION",
    ),
)

_ANSWERS = (
    _dns(
        "dns-nxdomain-as-servfail",
        "names that do not exist are answered SERVFAIL",
        "moby/moby#45553, which #45565 repairs",
        "DNS-NXDOMAIN",
        "DNS-NXDOMAIN-EXT",
    ),
    _dns(
        "dns-aaaa-servfail",
        "every AAAA query is answered SERVFAIL",
        "RFC 4074 §4.3",
        "DNS-NODATA",
        "DNS-AAAA-HEADLESS",
    ),
    _dns(
        "dns-case-sensitive",
        "names with capital letters do not exist",
        "resolvers that randomise the case of queries (draft-vixie-dnsext-dns0x20) against servers that compare bytes",
        "DNS-CASE",
    ),
    _dns(
        "dns-negative-without-soa",
        "negative answers carry no SOA record",
        "RFC 2308 §3 ignored: resolvers cannot tell how long absence holds",
        "DNS-NEGATIVE-SOA",
    ),
    _dns(
        "dns-negative-cached",
        "a name that was once NXDOMAIN stays so whatever the record's TTL says",
        "CoreDNS's cache plugin with serve_stale: coredns/coredns#3586",
        "DNS-NEGATIVE-TTL",
    ),
    _dns(
        "dns-tcp-broken",
        "connections over TCP are accepted and closed without an answer",
        "network policies and load balancers for UDP 53 only",
        "DNS-TCP",
        "DNS-TRUNCATED",
    ),
    _dns(
        "dns-truncation-silent",
        "answers that exceed the datagram lose records and do not say so",
        "middleboxes and servers that cut answers without the TC bit",
        "DNS-TRUNCATED",
    ),
    _dns(
        "dns-edns-ignored",
        "the offered datagram size has no effect: answers are cut at 512 bytes",
        "firewalls that enforce 512-byte DNS; RFC 6891 §6.2.5",
        "DNS-EDNS",
    ),
)

_SERVERS = (
    _dns(
        "dns-replica-broken",
        "one of the two servers answers SERVFAIL to everything, and is Ready",
        "SERVFAIL after new API server certificates: coredns/coredns#2464; Ready all the same: #4436",
        "DNS-REPLICAS",
        "DNS-RELIABLE",
    ),
    _dns(
        "dns-slow",
        "the first answer to a name takes 5 s: one of two parallel queries is lost",
        "kubernetes/kubernetes#56903, weaveworks/weave#3287",
        "DNS-STALL",
    ),
    _dns(
        "dns-race",
        "of two queries that leave one socket together, every fourth second one is lost",
        "the conntrack race: kubernetes/kubernetes#56903, #62628",
        "DNS-RACE",
    ),
    _dns(
        "dns-delayed",
        "every answer takes 200 ms",
        "DNS servers throttled by their CPU limit",
        "DNS-LATENCY",
    ),
    _dns(
        "dns-external-blocked",
        "the DNS servers cannot reach their upstream servers",
        "egress of pods blocked where the nodes' is not",
        "DNS-EXTERNAL",
        "DNS-NXDOMAIN-EXT",
    ),
    _dns(
        "dns-stub-ignored",
        "names of stub zones are asked of the general upstream servers",
        "`forward .` before the zone's own forward in one server block, which never gets a query",
        "DNS-STUB",
    ),
)

_PODS = (
    _dns(
        "resolv-search-wrong",
        "resolv.conf of pods lacks the search path of the cluster",
        "kubernetes/kubernetes#30073: the node's resolv.conf wins over the cluster domain",
        "DNS-SEARCH",
        "DNS-SEARCH-OWN",
        "DNS-NDOTS",
    ),
    _dns(
        "resolv-ndots-one",
        "resolv.conf of pods says ndots:1",
        "kubernetes/kubernetes#10161; images that rewrite resolv.conf",
        "DNS-NDOTS",
    ),
    _dns(
        "resolv-hostnetwork-default",
        "dnsPolicy ClusterFirstWithHostNet is treated like Default",
        "hostNetwork pods that resolve by their node's servers: kubernetes/kubernetes#17406",
        "DNS-HOSTNET",
    ),
    Fault(
        "egress-dns-port",
        "dns",
        "egress rules for port 53 are programmed for port 5353",
        "policies that name the Service's port where the DNS pods listen on another: OpenShift's dns-default",
        ("DNS-POLICY-ALLOW",),
        POLICY_PROFILES,
    ),
)

DNS_FAULTS: tuple[Fault, ...] = (*_RECORDS, *_ANSWERS, *_SERVERS, *_PODS)
