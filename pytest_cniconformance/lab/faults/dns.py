# SPDX-License-Identifier: Apache-2.0
"""Faults of the cluster DNS and of the way to it."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault

DNS_FAULTS: tuple[Fault, ...] = (
    Fault(
        "dns-nxdomain-cross-namespace",
        "dns",
        "names of Services in other namespaces do not exist",
        "kubernetes/kubernetes#66924, coredns/coredns#2005",
        ("DNS-XNS",),
    ),
    Fault(
        "dns-slow",
        "dns",
        "the first answer to a name takes 5 s: one of two parallel queries is lost",
        "kubernetes/kubernetes#56903, weaveworks/weave#3287",
        ("DNS-STALL",),
    ),
    Fault(
        "dns-headless-cluster-ip",
        "dns",
        "a headless Service resolves to one made-up address instead of its pods'",
        "stale DNS records after a Service became headless",
        ("DNS-HEADLESS",),
    ),
    Fault(
        "dns-nxdomain-as-servfail",
        "dns",
        "names that do not exist are answered SERVFAIL",
        "resolvers that answer SERVFAIL when an upstream fails",
        ("DNS-NXDOMAIN",),
    ),
    Fault(
        "dns-externalname-dropped",
        "dns",
        "Services of type ExternalName have no record",
        "missing CNAME records of ExternalName Services",
        ("DNS-EXTERNALNAME",),
    ),
    Fault(
        "dns-wrong-service-address",
        "dns",
        "a Service's name resolves to another Service's address",
        "stale DNS records after a Service was re-created",
        ("DNS-SVC", "CT-SVC-NAME"),
    ),
    Fault(
        "resolv-search-wrong",
        "dns",
        "resolv.conf of pods lacks the search path of the cluster",
        "kubernetes/kubernetes#101017",
        ("DNS-SEARCH",),
    ),
)
