# SPDX-License-Identifier: Apache-2.0
"""The rows of the catalogue on Services, DNS, replies, other protocols and change; and that no row is forgotten."""

from __future__ import annotations

import re

import pytest

from pytest_cniconformance.policy import ClusterState, decide, invalid
from pytest_cniconformance.policy.builders import Obj, network_policy, peer, port, rule
from tests.policy.catalogue import EG, EXT, IN, P80, Case, np, ns
from tests.policy.test_catalogue import CASES as RULES
from tests.policy.world import cluster, grid, namespace, pod

VIP = "10.96.0.20"
DENY_ALL = np("x", types=[IN, EG])


def service(where: str, selector: dict[str, str], target: int | str = 80, **spec: object) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": where},
        "spec": {
            "clusterIP": VIP,
            "selector": selector,
            "ports": [{"port": 8080, "targetPort": target}],
            **spec,
        },
    }


S = service("y", {"pod": "b"})
DNS = [
    namespace("kube-system"),
    pod("kube-system/dns", "10.244.7.1", labels={"k8s-app": "kube-dns"}),
    pod("kube-system/other", "10.244.7.2"),
]
TO_DNS = peer({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})

CASES = [
    Case("NP-PRT-3", [S, np("y/b", ingress=[rule(ports=P80)])], f"x/a {VIP} 8080 A\nx/a y/svc:s 8080 A"),
    Case(
        "NP-PRT-3 the Service's port", [S, np("y/b", ingress=[rule(ports=[port(8080)])])], f"x/a {VIP} 8080 D"
    ),
    Case(
        "NP-PRT-3 named target",
        [service("y", {"pod": "b"}, "web"), np("y/b", ingress=[rule(ports=[port("web")])])],
        f"x/a {VIP} 8080 A\nx/a {VIP} 80 U",
    ),
    Case(
        "NP-ICMP-1",
        [DENY_ALL, np("y/a", ingress=[rule()]), np("y/b", ingress=[rule(ports=P80)], name="q")],
        "z/a x/a 8/ICMP U\nz/a y/a 8/ICMP U\nz/a y/b 8/ICMP U\nz/a y/c 8/ICMP A\nn1 x/a 8/ICMP A",
    ),
    Case(
        "NP-IPB-5",
        [S, np("x/a", egress=[rule([peer(cidr=f"{VIP}/32")])], types=[EG])],
        f"x/a {VIP} 8080 U\nx/a y/svc:s 8080 U\nx/a y/b 80 D\nx/b {VIP} 8080 A",
    ),
    Case(
        "NP-IPB-5 the backend denies anyway",
        [S, np("x/a", egress=[rule([peer(cidr=f"{VIP}/32")])], types=[EG]), np("y/b", types=[IN])],
        f"x/a {VIP} 8080 D",
    ),
    Case("NP-IPB-6", [np("x/c", ingress=[rule([peer(cidr=f"{EXT}/32")])])], f"{EXT} x/c A\nn1 x/c U"),
    Case("NP-SVC-3", [np("x/c", ingress=[rule([peer(cidr=f"{EXT}/32")])])], f"{EXT} x/c A\nn2 x/c A"),
    Case("NP-SELF-2", [service("x", {"pod": "a"}), DENY_ALL], f"x/a {VIP} 8080 U\nx/a x/a 80 A"),
    Case("NP-SELF-2 no policy", [service("x", {"pod": "a"})], f"x/a {VIP} 8080 A"),
    Case(
        "NP-SELF-2 allowed by its own rules",
        [service("x", {"pod": "a"}), np("x/a", ingress=[rule([peer({"pod": "a"})])])],
        f"x/a {VIP} 8080 A",
    ),
    Case(
        "NP-REP-1",
        [
            np("x/a", egress=[rule([ns("y")])], types=[IN, EG]),
            np("y/b", ingress=[rule([ns("x")])], types=[IN, EG]),
        ],
        "x/a y/b A",
    ),
    Case(
        "NP-REP-2",
        [
            np("x/a", egress=[rule([ns("y")])], types=[IN, EG]),
            np("y/b", ingress=[rule([ns("x")])], types=[IN, EG]),
        ],
        "y/b x/a 40000 D",
    ),
    Case(
        "NP-SVC-1",
        [S, np("y/b", ingress=[rule([peer({"pod": "b"}, {"ns": "x"})])])],
        f"x/b {VIP} 8080 A\nz/b {VIP} 8080 D",
    ),
    Case(
        "NP-SVC-2",
        [S, np("x/a", egress=[rule([peer({"pod": "b"}, {"ns": "y"})], P80)], types=[EG])],
        f"x/a {VIP} 8080 A\nx/a y/b A\nx/a y/a D",
    ),
    Case(
        "NP-SVC-2 other backends",
        [service("y", {"pod": "a"}), np("x/a", egress=[rule([peer({"pod": "b"}, {"ns": "y"})])], types=[EG])],
        f"x/a {VIP} 8080 D",
    ),
    Case("NP-DNS-1", [*DNS, DENY_ALL], "x/a kube-system/dns 53/UDP D\nx/a kube-system/dns 53 D\nx/a y/b D"),
    Case(
        "NP-DNS-1 with the rule",
        [*DNS, np("x", egress=[rule([TO_DNS], [port(53, "UDP"), port(53)])], types=[EG])],
        "x/a kube-system/dns 53/UDP A\nx/a kube-system/dns 53 A\nx/a kube-system/other 53/UDP D\nx/a y/b D",
    ),
    Case(
        "NP-DNS-2",
        [*DNS, np("x", egress=[rule([TO_DNS], [port(53, "UDP")])], types=[EG])],
        "x/a kube-system/dns 53/UDP A\nx/a kube-system/dns 53 D",
    ),
    Case(
        "NP-DS-1", [np("x/a", ingress=[rule([ns("y")])])], "fd44::1:1 x/a A\nfd44::2:1 x/a D\ny/a fd44::0:1 A"
    ),
    Case(
        "NP-IPB-7 by address",
        [np("x/a", ingress=[rule([peer(cidr="10.244.0.0/16")])])],
        "y/a 10.244.0.1 U\ny/a fd44::0:1 D\nfd44::1:1 x/a D",
    ),
    Case("NP-SEL-7", [pod("x/new", "10.244.0.9", labels={"pod": "b"}), np("x/b", types=[IN])], "y/a x/new D"),
    Case(
        "NP-DYN-9",
        [{**pod("x/gone", "10.244.0.9", labels={"pod": "a"})}, np("x/a", types=[IN])],
        "y/a x/gone D",
    ),
]
CASES[-1].objs[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_catalogue_of_traffic(case: Case) -> None:
    case.verify()


FROM_B = np("x/a", ingress=[rule([peer({"pod": "b"}, {"ns": "y"})])])


def ask(*objs: Obj, source: str = "y/b", destination: str = "x/a") -> str:
    return str(decide(ClusterState.from_objects(objs), source, destination, 80).decision)


def relabelled(name: str, **labels: str) -> list[Obj]:
    """Return the grid with one object's labels changed."""
    objs = grid()
    for obj in objs:
        metadata = obj["metadata"]
        if f"{metadata.get('namespace', '')}/{metadata['name']}".strip("/") == name:
            metadata["labels"] = labels
    return objs


def test_np_dyn_1_labels_of_pods_as_they_are_now() -> None:
    assert ask(*grid(), FROM_B) == "allow"
    assert ask(*relabelled("y/b", pod="q"), FROM_B) == "deny"
    assert ask(*relabelled("x/a", pod="q"), FROM_B, source="z/c") == "allow"


def test_np_dyn_2_labels_of_namespaces_as_they_are_now() -> None:
    assert ask(*relabelled("y", ns="q"), FROM_B) == "deny"


def test_np_dyn_3_each_transition_of_a_policy() -> None:
    state = ClusterState.from_objects(grid())

    def after(policy: Obj) -> tuple[str, str]:
        now = state.with_policies([policy])
        return str(decide(now, "y/b", "x/a", 80).decision), str(decide(now, "x/a", "y/b", 80).decision)

    assert after(np("x/a", types=[IN, EG])) == ("deny", "deny")
    assert after(np("x/a", ingress=[rule([ns("y")])], types=[IN, EG])) == ("allow", "deny")
    assert after(np("x/a", types=[IN])) == ("deny", "allow")
    assert after(np("x/q", types=[IN, EG])) == ("allow", "allow")


def test_np_dyn_4_one_of_two_stacked_policies_stays() -> None:
    state = ClusterState.from_objects(grid())
    both = [np("x/a", types=[IN]), np("x", ingress=[rule([ns("z")])], name="q")]
    verdicts = [
        [str(decide(state.with_policies(rest), s, "x/a", 80).decision) for s in ("y/b", "z/b")]
        for rest in (both, both[:1], both[1:], [])
    ]
    assert verdicts == [["deny", "allow"], ["deny", "deny"], ["deny", "allow"], ["allow", "allow"]]


def test_np_dyn_5_a_namespace_of_the_same_name_with_other_labels() -> None:
    assert ask(*grid(), namespace("y", ns="other"), FROM_B) == "deny"


def test_np_dyn_10_a_policy_without_pods_yet() -> None:
    early = network_policy("early", "new", ingress=[rule([ns("later")])])
    assert ask(*grid(), early) == "allow"
    later = [namespace("later", ns="later"), pod("later/a", "10.244.8.1"), pod("new/a", "10.244.9.1")]
    assert ask(*grid(), early, *later, source="later/a", destination="new/a") == "allow"
    assert ask(*grid(), early, *later, source="y/b", destination="new/a") == "deny"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({}, "must specify a peer"),
        ({"podSelector": None}, "must specify a peer"),
        (
            {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}},
            "may not specify both ipBlock and another peer",
        ),
    ],
    ids=["NP-EMP-7", "NP-EMP-8", "NP-EMP-7 both"],
)
def test_peers_that_the_api_rejects(made: Obj, reason: str) -> None:
    assert any(reason in line for line in invalid(network_policy("p", "x", ingress=[rule([made])])))


def test_objects_of_other_groups_are_no_policies_and_no_services() -> None:
    calico = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "x"},
    }
    knative = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"}}
    state = cluster(calico, knative)
    assert (state.policies, state.services) == ((), ())


ELSEWHERE = {
    "NP-VAL-1": "test_validate.py",
    "NP-END-3": "what a CNI that ignores endPort does",
    "NP-ICMP-2": "ICMP errors: a trait of the data plane",
    "NP-REP-3": "a time-out of connection tracking",
    "NP-EST-1": "established connections: a trait",
    "NP-EST-2": "established connections: a trait",
    "NP-EST-3": "established connections: a trait",
    "NP-DYN-6": "the moment of a pod's start",
    "NP-DYN-7": "convergence",
    "NP-DYN-11": "restart of an agent",
    "NP-DYN-12": "churn: the end state is any other state",
    "NP-SVC-4": "the node answers, no pod",
    "NP-DS-2": "neighbour discovery",
}
"""The rows that no table of verdicts can show, and where they are looked at or why."""

SIZES = {
    "ISO": 4, "DEF": 3, "EMP": 8, "AND": 3, "SEL": 7, "PRT": 9, "END": 3, "SCTP": 2, "ICMP": 2, "IPB": 8, "NODE": 3,
    "HOST": 2, "SELF": 2, "REP": 3, "EST": 3, "DYN": 12, "SVC": 4, "DNS": 2, "DS": 2, "VAL": 1,
}  # fmt: skip


def test_no_row_is_forgotten() -> None:
    everything = {f"NP-{area}-{i + 1}" for area, size in SIZES.items() for i in range(size)}
    names = " ".join(name.upper().replace("_", "-") for name in globals() if name.startswith("test_np_"))
    shown = set(re.findall(r"NP-[A-Z]+-\d+", " ".join(case.id for case in (*RULES, *CASES)) + " " + names))
    shown |= {"NP-EMP-7", "NP-EMP-8"}  # test_peers_that_the_api_rejects
    assert shown | ELSEWHERE.keys() == everything
    assert not shown & ELSEWHERE.keys()
