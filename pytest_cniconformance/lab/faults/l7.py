# SPDX-License-Identifier: Apache-2.0
"""Faults of HTTP policy."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import L7_PROFILES, Fault


def _l7(name: str, summary: str, mimics: str, *caught_by: str) -> Fault:
    return Fault(name, "l7", summary, mimics, caught_by, L7_PROFILES)


L7_FAULTS: tuple[Fault, ...] = (
    _l7("l7-method-ignored", "HTTP rules match any method", "proxies configured by path alone", "L7-METHOD"),
    _l7(
        "l7-path-prefix",
        "the path of an HTTP rule matches as a prefix",
        "proxies that match prefixes where a rule means the whole path: cilium/cilium#13280",
        "L7-PATH",
    ),
    _l7(
        "l7-rules-rejected",
        "the proxy rejects the HTTP rules as a whole and denies every request",
        "cilium/cilium#41314: the regular expressions exceed RE2's program size",
        "L7-ALLOW",
    ),
    _l7(
        "l7-denied-by-reset",
        "a denied HTTP request is answered by a TCP reset instead of 403",
        "a proxy that drops instead of answering 403: antrea-io/antrea#4628",
        "L7-403",
    ),
    _l7(
        "l7-only-first-request",
        "only the first request of a connection is checked",
        "connection-level L7 filtering",
        "L7-KEEPALIVE",
    ),
    _l7(
        "l7-not-enforced",
        "HTTP rules are accepted, but their ports are open to every request",
        "GHSA-hxv8-4j4r-cqgv",
        "L7-METHOD",
        "L7-PATH",
        "L7-403",
    ),
    _l7(
        "l7-peer-wildcard",
        "HTTP rules apply to every peer, not only to those named",
        "CVE-2023-30851",
        "L7-PEER",
    ),
)
