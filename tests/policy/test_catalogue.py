# SPDX-License-Identifier: Apache-2.0
"""One table: each row of the catalogue on rules, selectors, ports, blocks, nodes, as objects and verdicts."""

from __future__ import annotations

import pytest

from pytest_cniconformance.policy import decide
from pytest_cniconformance.policy.builders import expression, matching, peer, port, rule
from tests.policy.catalogue import EG, EXT, IN, P80, Case, np, ns, ns_expr, pods_expr
from tests.policy.world import cluster, namespace, pod

DENY_ALL = np("x", ingress=[], egress=[], types=[IN, EG], name="deny-all")

CASES = [
    Case("NP-ISO-1", [], f"x/a y/b A\n{EXT} x/a A\nx/a {EXT} A\nx/a x/b 9/UDP A"),
    Case(
        "NP-ISO-2",
        [
            np("x/a", ingress=[rule([ns("y")], P80)]),
            np("x/a", ingress=[rule([ns("z")], [port(81)])], name="q"),
        ],
        "y/a x/a A\nz/a x/a 81 A\ny/a x/a 81 D\nz/a x/a D",
    ),
    Case(
        "NP-ISO-3 denied",
        [
            np("x/a", egress=[rule([peer({"pod": "b"}, {"ns": "y"})])], types=[EG]),
            np("y/b", ingress=[rule([ns("z")])]),
        ],
        "x/a y/b D\nx/a y/c D\nz/a y/b A",
    ),
    Case(
        "NP-ISO-3 allowed",
        [
            np("x/a", egress=[rule([peer({"pod": "b"}, {"ns": "y"})])], types=[EG]),
            np("y/b", ingress=[rule([ns("z"), ns("x")])]),
        ],
        "x/a y/b A\ny/a y/b D",
    ),
    Case("NP-ISO-4", [np("x/a", types=[EG])], "y/b x/a A\nx/a y/b D"),
    Case("NP-DEF-1", [np("x/a", egress=[rule([ns("y")])])], "y/b x/a D\nx/a y/b A\nx/a z/b D"),
    Case("NP-DEF-1 empty egress", [np("x/a", egress=[])], "y/b x/a D\nx/a z/b A"),
    Case("NP-DEF-1 empty types", [np("x/a", egress=[rule()], types=[])], "y/b x/a D\nx/a z/b A"),
    Case(
        "NP-DEF-2",
        [np("x/a", ingress=[rule([peer({"pod": "b"})])], egress=[rule()], types=[EG])],
        "y/a x/a A\nx/a y/a A",
    ),
    Case("NP-DEF-2 ingress only", [np("x/a", egress=[rule([ns("y")])], types=[IN])], "x/a z/a A\nz/a x/a D"),
    Case("NP-DEF-3", [np("x", types=[EG])], f"x/a y/a D\nx/a {EXT} D\ny/a x/a A\nx/a x/b D"),
    Case("NP-DEF-3 ingress", [np("x", types=[IN])], f"y/a x/a D\n{EXT} x/a D\nx/a y/a A"),
    Case("NP-EMP-1", [np("x/a", ingress=[], types=[IN])], "y/b x/a D\nx/b x/a D"),
    Case("NP-EMP-2", [np("x/a", ingress=[rule()])], f"y/b x/a A\n{EXT} x/a 7/SCTP A"),
    Case(
        "NP-EMP-3",
        [np("x/a", ingress=[rule([], P80)])],
        f"y/b x/a A\n{EXT} x/a A\nz/a x/a 81 D",
    ),
    Case("NP-EMP-3 empty ports", [np("x/a", ingress=[rule([ns("y")], [])])], "y/b x/a 5/UDP A\nz/a x/a D"),
    Case("NP-EMP-4", [np("x", types=[IN])], "x/a x/b D\ny/a x/c D\ny/a z/a A"),
    Case("NP-EMP-5", [np("x/a", ingress=[rule([peer({})])])], f"x/b x/a A\ny/b x/a D\n{EXT} x/a D"),
    Case(
        "NP-EMP-6",
        [np("x/a", ingress=[rule([peer(namespaces={})])])],
        f"z/b x/a A\nx/b x/a A\n{EXT} x/a D\nn2 x/a U",
    ),
    Case(
        "NP-AND-1",
        [np("x/a", ingress=[rule([peer({"pod": "b"}, {"ns": "y"})])])],
        "y/b x/a A\ny/a x/a D\nx/b x/a D",
    ),
    Case(
        "NP-AND-1 two peers",
        [np("x/a", ingress=[rule([peer({"pod": "b"}), ns("y")])])],
        "y/a x/a A\nx/b x/a A\nz/b x/a D",
    ),
    Case(
        "NP-AND-2",
        [np("x/a", ingress=[rule([ns("y")], P80), rule([ns("z")], [port(81)])])],
        "y/a x/a 80 A\ny/a x/a 81 D\nz/a x/a 81 A\nz/a x/a 80 D",
    ),
    Case("NP-AND-3", [np("x/a", ingress=[rule([peer({"pod": "b"})])])], "x/b x/a A\ny/b x/a D"),
    Case(
        "NP-SEL-1",
        [
            np(
                "x/a",
                ingress=[
                    rule(
                        [
                            peer(
                                matching(expression("pod", "In", "a", "b"), expression("pod", "NotIn", "b")),
                                {},
                            )
                        ]
                    )
                ],
            )
        ],
        "y/a x/a A\ny/b x/a D\ny/c x/a D",
    ),
    Case(
        "NP-SEL-2",
        [
            namespace("bare"),
            pod("bare/a", "10.244.9.1"),
            np("x/a", ingress=[rule([ns_expr(expression("ns", "NotIn", "y"))])]),
            np("x/b", ingress=[rule([ns_expr(expression("ns", "DoesNotExist"))])], name="q"),
            np("x/c", ingress=[rule([ns_expr(expression("ns", "Exists"))])], name="r"),
        ],
        "bare/a x/a A\nz/a x/a A\ny/a x/a D\nbare/a x/b A\nz/a x/b D\nbare/a x/c D\nz/a x/c A",
    ),
    Case(
        "NP-SEL-3",
        [np("x/a", ingress=[rule([ns_expr(expression("ns", "NotIn", "y"))])])],
        f"{EXT} x/a D\nn2 x/a U\nz/a x/a A",
    ),
    Case(
        "NP-SEL-4",
        [
            np(
                "x/a",
                ingress=[
                    rule([pods_expr(expression("pod", "In", "a", "b"), expression("pod", "In", "b", "c"))])
                ],
            )
        ],
        "y/b x/a A\ny/a x/a D\ny/c x/a D",
    ),
    Case(
        "NP-SEL-5",
        [
            pod("y/e", "10.244.1.9", labels={"t": ""}),
            np("x/a", ingress=[rule([pods_expr(expression("t", "Exists"))])]),
            np("x/b", ingress=[rule([pods_expr(expression("t", "In", "x"))])], name="q"),
            np("x/c", ingress=[rule([peer({"t": ""}, {})])], name="r"),
        ],
        "y/e x/a A\ny/a x/a D\ny/e x/b D\ny/e x/c A\ny/a x/c D",
    ),
    Case(
        "NP-SEL-6",
        [np("x/a", ingress=[rule([peer(namespaces={"kubernetes.io/metadata.name": "y"})])])],
        "y/a x/a A\nz/a x/a D",
    ),
    Case(
        "NP-SEL-6 no name label",
        [np("x/a", ingress=[rule([peer(namespaces={"name": "y"})])])],
        "y/a x/a D",
    ),
    Case("NP-PRT-1", [np("x/a", ingress=[rule(ports=[port(80, None)])])], "y/a x/a A\ny/a x/a 80/UDP D"),
    Case(
        "NP-PRT-2",
        [np("x/a", ingress=[rule(ports=[port(protocol="UDP")])])],
        "y/a x/a 53/UDP A\ny/a x/a 65535/UDP A\ny/a x/a 53 D\ny/a x/a 53/SCTP D",
    ),
    Case(
        "NP-PRT-4",
        [
            pod("z/p", "10.244.2.8", ports=[{"containerPort": 81, "name": "web"}]),
            np("z", ingress=[rule(ports=[port("web")])]),
        ],
        "x/a z/a 80 A\nx/a z/a 81 D\nx/a z/p 81 A\nx/a z/p 80 D",
    ),
    Case(
        "NP-PRT-4 from outside",
        [np("x/a", ingress=[rule([peer(cidr="203.0.113.0/24")], [port("web")])])],
        f"{EXT} x/a 80 A\n{EXT} x/a 81 D\n198.51.100.1 x/a 80 D",
    ),
    Case(
        "NP-PRT-5",
        [
            pod("y/p", "10.244.1.7", labels={"app": "w"}, ports=[{"containerPort": 80, "name": "web"}]),
            pod("y/q", "10.244.1.8", labels={"app": "w"}, ports=[{"containerPort": 8080, "name": "web"}]),
            np("x/a", egress=[rule([peer({"app": "w"}, {})], [port("web")])], types=[EG]),
        ],
        "x/a y/p 80 A\nx/a y/q 8080 A\nx/a y/q 80 D\nx/a y/p 8080 D",
    ),
    Case(
        "NP-PRT-6",
        [np("x/a", ingress=[rule(ports=[port("dns", "TCP")])])],
        "y/a x/a 80 D\ny/a x/a 80/UDP D",
    ),
    Case(
        "NP-PRT-6 same protocol", [np("x/a", ingress=[rule(ports=[port("dns", "UDP")])])], "y/a x/a 80/UDP A"
    ),
    Case("NP-PRT-7", [np("x/a", ingress=[rule(ports=[port("nope")])])], "y/a x/a D\ny/a x/a 81 D"),
    Case(
        "NP-PRT-7 outside",
        [np("x/a", egress=[rule(ports=[port("web")])], types=[EG])],
        f"x/a {EXT} D\nx/a y/a A",
    ),
    Case(
        "NP-PRT-8",
        [
            pod(
                "z/s",
                "10.244.2.9",
                init=[
                    {
                        "name": "s",
                        "restartPolicy": "Always",
                        "ports": [{"containerPort": 90, "name": "side"}],
                    },
                    {"name": "once", "ports": [{"containerPort": 91, "name": "once"}]},
                ],
            ),
            np("z/s", ingress=[rule(ports=[port("side"), port("once")])]),
        ],
        "x/a z/s 90 A\nx/a z/s 91 D",
    ),
    Case(
        "NP-PRT-9",
        [
            pod(
                "z/s",
                "10.244.2.9",
                ports=[
                    {"containerPort": 53, "name": "dns"},
                    {"containerPort": 5353, "name": "dns", "protocol": "UDP"},
                ],
            ),
            np("z/s", ingress=[rule(ports=[port("dns"), port("dns", "UDP")])]),
        ],
        "x/a z/s 53 A\nx/a z/s 5353/UDP A\nx/a z/s 53/UDP D\nx/a z/s 5353 D",
    ),
    Case(
        "NP-END-1",
        [np("x/a", ingress=[rule(ports=[port(80, end=81)])])],
        "y/a x/a 79 D\ny/a x/a 80 A\ny/a x/a 81 A\ny/a x/a 82 D\ny/a x/a 80/UDP D",
    ),
    Case(
        "NP-END-2",
        [
            np("x/a", ingress=[rule(ports=[port(80, end=80), port(100, end=200), port(150, end=250)])]),
            np("x/b", ingress=[rule(ports=[port(1, end=65535)])], name="q"),
        ],
        "y/a x/a 80 A\ny/a x/a 81 D\ny/a x/a 99 D\ny/a x/a 250 A\ny/a x/a 251 D\ny/a x/b 1 A\ny/a x/b 65535 A",
    ),
    Case(
        "NP-SCTP-1",
        [np("x/a", ingress=[rule(ports=[port(80, "SCTP")])])],
        "y/a x/a 80/SCTP A\ny/a x/a 80 D",
    ),
    Case(
        "NP-SCTP-2",
        [np("x/a", ingress=[rule(ports=[port(80)])])],
        "y/a x/a 80/SCTP D\ny/a x/a 80/UDP D",
    ),
    Case(
        "NP-IPB-1",
        [
            np("x/a", egress=[rule([peer(cidr="192.0.2.0/24", except_=["192.0.2.128/25"])])], types=[EG]),
            np("x/a", egress=[rule([peer(cidr="192.0.2.130/32")])], types=[EG], name="q"),
        ],
        "x/a 192.0.2.1 A\nx/a 192.0.2.127 A\nx/a 192.0.2.128 D\nx/a 192.0.2.130 A\nx/a 192.0.2.131 D",
    ),
    Case(
        "NP-IPB-2",
        [
            np(
                "x/a",
                ingress=[
                    rule([peer(cidr="198.51.100.64/26", except_=["198.51.100.80/28", "198.51.100.84/30"])])
                ],
            ),
            np("x/b", ingress=[rule([peer(cidr="0.0.0.0/0")])], name="q"),
            np("x/c", ingress=[rule([peer(cidr="2001:db8::1/128")])], name="r"),
        ],
        "198.51.100.63 x/a D\n198.51.100.64 x/a A\n198.51.100.79 x/a A\n198.51.100.80 x/a D\n198.51.100.95 x/a D\n"
        "198.51.100.96 x/a A\n198.51.100.127 x/a A\n198.51.100.128 x/a D\n255.255.255.255 x/b A\n"
        "2001:db8::1 x/c A\n2001:db8::2 x/c D",
    ),
    Case(
        "NP-IPB-3",
        [
            np("x/a", ingress=[rule([peer(cidr="10.244.1.1/32")])]),
            np("x/b", ingress=[rule([ns("y")])], name="q"),
        ],
        "y/a x/a U\ny/b x/a D\ny/a x/b A",
    ),
    Case(
        "NP-IPB-3 decided elsewhere",
        [np("x/a", ingress=[rule([peer(cidr="10.0.0.0/8"), ns("y")])])],
        "y/a x/a A\nz/a x/a U",
    ),
    Case(
        "NP-IPB-4",
        [np("x/a", egress=[rule([peer(cidr="172.30.0.0/16")])], types=[EG])],
        "x/a n2 U\nx/a 172.30.1.2 U\nx/a 172.30.9.9 A",
    ),
    Case(
        "NP-IPB-7",
        [np("x/a", ingress=[rule([peer(cidr="0.0.0.0/0")])])],
        f"2001:db8::9 x/a D\n{EXT} x/a A",
    ),
    Case(
        "NP-IPB-8",
        [np("x/a", egress=[rule([peer(cidr="0.0.0.0/0", except_=["10.244.0.0/16"])])], types=[EG])],
        f"x/a {EXT} A\nx/a y/a D\nx/a x/b D",
    ),
    Case("NP-NODE-1", [DENY_ALL], "n1 x/a A\n172.30.1.1 x/b A\nn2 x/c A"),
    Case("NP-NODE-2", [DENY_ALL], "n2 x/a U\nn1 x/c U"),
    Case("NP-NODE-3", [DENY_ALL], "x/a n1 U\nx/a n2 D"),
    Case(
        "NP-HOST-1",
        [
            pod("z/h", "172.30.1.2", host=True, on="n2"),
            np("z/h", ingress=[]),
            np("x/a", ingress=[rule([peer({"pod": "h"}, {})])], name="q"),
            np("x/b", ingress=[rule([peer(cidr="172.30.1.2/32")])], name="r"),
        ],
        "y/a z/h U\nz/h x/a U\nz/h x/b U\nz/h y/a A\nn2 x/b U",
    ),
    Case(
        "NP-HOST-1 allowed either way",
        [pod("z/h", "172.30.1.2", host=True, on="n2"), np("z/h", ingress=[rule([ns("y")])])],
        "y/a z/h A\nx/a z/h U",
    ),
    Case("NP-HOST-2", [pod("z/h", "172.30.1.1", host=True, on="n1"), DENY_ALL], "z/h x/a A\nz/h x/c U"),
    Case("NP-SELF-1", [DENY_ALL], "x/a x/a A\nx/a x/a 9/UDP A\n10.244.0.1 x/a A"),
    Case(
        "NP-DYN-8",
        [
            pod("y/done", "10.244.1.1", labels={"pod": "b"}, phase="Succeeded"),
            pod("y/broken", "10.244.1.2", labels={"pod": "b"}, phase="Failed"),
            np("x/a", ingress=[rule([peer({"pod": "b"}, {"ns": "y"})])]),
        ],
        "10.244.1.1 x/a D\n10.244.1.2 x/a A",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_catalogue(case: Case) -> None:
    case.verify()


@pytest.mark.parametrize(("source", "expected"), [("y/a", "allow"), ("z/a", "deny")])
def test_selectors_hold_for_both_families(source: str, expected: str) -> None:
    """NP-DS-1."""
    state = cluster(np("x/a", ingress=[rule([ns("y")])]))
    assert [decide(state, source, "x/a", 80, "TCP", f).decision for f in ("ipv4", "ipv6")] == [expected] * 2


def test_a_block_of_one_family_says_nothing_of_the_other() -> None:
    """NP-IPB-7 between pods: open for IPv4, where a pod's address is covered, and denied for IPv6."""
    state = cluster(np("x/a", ingress=[rule([peer(cidr="10.244.0.0/16")])]))
    assert [decide(state, "y/a", "x/a", 80, "TCP", f).decision for f in ("ipv4", "ipv6")] == [
        "unspecified",
        "deny",
    ]


def test_a_pod_without_address_may_lie_in_any_block() -> None:
    state = cluster(pod("y/new"), np("x/a", ingress=[rule([peer(cidr="10.0.0.0/8")])]))
    assert decide(state, "y/new", "x/a", 80).decision == "unspecified"
    assert decide(state, "y/new", "x/a", 80, family="ipv6").decision == "deny"
