# SPDX-License-Identifier: Apache-2.0
"""What is said about a verdict, and how the ends of a connection are named."""

from __future__ import annotations

import pytest

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.matrix import Cell, Decision
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy import ClusterState, decide, expected_matrix
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule
from tests.policy.world import cluster, grid, namespace, pod

DENY = network_policy("default-deny", "y")
WEB = network_policy(
    "allow-web",
    "y",
    {"pod": "b"},
    ingress=[rule([peer(namespaces={"ns": "z"}), peer({"pod": "a"}, {"ns": "x"})], [port(80)])],
)


def test_a_deny_names_the_isolating_policies() -> None:
    assert decide(cluster(DENY), "x/a", "y/b", 80).because == (
        "y/default-deny isolates y/b for ingress; no rule matches x/a",
    )
    assert decide(cluster(DENY, WEB), "x/b", "y/b", 80).because == (
        "y/default-deny, y/allow-web isolate y/b for ingress; no rule matches x/b",
    )


def test_of_many_isolating_policies_the_first_are_named() -> None:
    many = [network_policy(f"p{i:02}", "y") for i in range(30)]
    names = ", ".join(f"y/p{i:02}" for i in range(10))
    assert decide(cluster(*many), "x/a", "y/b", 80).because == (
        f"{names} and 20 more isolate y/b for ingress; no rule matches x/a",
    )


def test_a_deny_names_the_rule_that_fails_by_its_port_only() -> None:
    assert decide(cluster(WEB), "x/a", "y/b", 81).because == (
        (
            "y/allow-web isolates y/b for ingress; no rule matches x/a on 81/TCP; "
            "y/allow-web ingress rule 0, peer 1 matches x/a but not 81/TCP (only 80/TCP)"
        ),
    )


def test_an_allow_names_rule_and_peer() -> None:
    assert decide(cluster(DENY, WEB), "x/a", "y/b", 80).because == (
        "no policy isolates x/a for egress",
        "y/allow-web ingress rule 0, peer 1 matches x/a on 80/TCP",
    )


def test_an_open_question_names_the_block() -> None:
    state = cluster(
        network_policy("blocks", "y", ingress=[rule([peer(cidr="10.0.0.0/8", except_=["10.1.0.0/16"])])])
    )
    (line,) = decide(state, "x/a", "y/b", 80).because
    assert line == (
        "y/blocks ingress rule 0, peer 0 may match x/a on 80/TCP: ipBlock 10.0.0.0/8 except 10.1.0.0/16 "
        "covers a pod's address, which the API leaves open (NP-IPB-3)"
    )


def test_both_directions_are_judged_apart() -> None:
    ruling = decide(cluster(network_policy("no-egress", "x", types=["Egress"]), WEB), "x/a", "y/b", 80)
    assert (ruling.egress, ruling.ingress, ruling.decision) == (Decision.DENY, Decision.ALLOW, Decision.DENY)
    assert ruling.because == ("x/no-egress isolates x/a for egress; no rule matches y/b",)


def test_a_matrix_has_a_reason_in_every_cell() -> None:
    cells = [
        Cell(s, "y/b", 80, Protocol.TCP, f) for s in ("x/a", "x/b", "10.244.0.1") for f in ("ipv4", "ipv6")
    ]
    expected = expected_matrix(cluster(WEB), cells)
    assert list(expected) == cells
    assert [e.decision for e in expected.values()] == ["allow", "allow", "deny", "deny", "allow", "allow"]
    assert all(e.because for e in expected.values())


def test_names_that_stand_for_nothing_are_refused() -> None:
    state = cluster(pod("x/job", "10.244.0.9", phase="Succeeded"))
    with pytest.raises(UsageError, match="no pod 'x/zz'"):
        decide(state, "x/zz", "y/b", 80)
    with pytest.raises(UsageError, match="x/job has finished"):
        decide(state, "x/job", "y/b", 80)


def test_a_terminating_pod_still_counts() -> None:
    """NP-DYN-9."""
    leaving = pod("x/leaving", "10.244.0.9", labels={"pod": "a"})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decide(cluster(WEB, leaving), "x/leaving", "y/b", 80).decision == "allow"


class TestServices:
    """The address of a Service stands for its backends (NP-SVC-1, NP-PRT-3, NP-IPB-5, NP-SELF-2)."""

    VIP = "10.96.0.20"

    def service(self, target: int | str = 80, **labels: str) -> dict[str, object]:
        return {
            "kind": "Service",
            "metadata": {"name": "s", "namespace": "y"},
            "spec": {
                "clusterIP": self.VIP,
                "selector": labels or {"pod": "b"},
                "ports": [{"port": 8080, "targetPort": target}],
            },
        }

    def test_policies_see_the_target_port(self) -> None:
        state = cluster(self.service(), WEB)
        assert decide(state, "x/a", self.VIP, 8080).decision == "allow"
        assert decide(state, "x/b", self.VIP, 8080).decision == "deny"
        wrong = network_policy("p", "y", {"pod": "b"}, ingress=[rule(ports=[port(8080)])])
        assert decide(cluster(self.service(), wrong), "x/a", self.VIP, 8080).decision == "deny"

    def test_a_named_target_is_resolved_on_the_pod(self) -> None:
        assert decide(cluster(self.service("web"), WEB), "x/a", self.VIP, 8080).decision == "allow"

    def test_backends_that_differ_leave_it_open(self) -> None:
        both = cluster(self.service(80, kind="web"), pod("y/d", "10.244.1.8", labels={"kind": "web"}))
        assert decide(both, "x/a", self.VIP, 8080).decision == "allow"
        state = cluster(
            self.service(80, kind="web"),
            pod("y/d", "10.244.1.8", labels={"kind": "web", "v": "1"}),
            pod("y/e", "10.244.1.9", labels={"kind": "web"}),
            network_policy("one", "y", {"v": "1"}),
        )
        ruling = decide(state, "x/a", self.VIP, 8080)
        assert ruling.decision == "unspecified"
        assert ruling.because[0] == "the backends differ"

    def test_a_block_over_the_service_address_is_open(self) -> None:
        egress = network_policy("vip", "x", egress=[rule([peer(cidr="10.96.0.20/32")])], types=["Egress"])
        assert decide(cluster(self.service(), egress), "x/a", self.VIP, 8080).decision == "unspecified"
        denied = [egress, network_policy("deny", "y")]
        assert decide(cluster(self.service(), *denied), "x/a", self.VIP, 8080).decision == "deny"

    def test_a_pod_behind_its_own_service(self) -> None:
        assert decide(cluster(self.service()), "y/b", self.VIP, 8080).decision == "allow"
        assert decide(cluster(self.service(), DENY), "y/b", self.VIP, 8080).decision == "unspecified"

    def test_without_backend_there_is_nothing_to_judge(self) -> None:
        assert decide(cluster(self.service(80, pod="none")), "x/a", self.VIP, 8080).decision == "unspecified"
        assert decide(cluster(self.service()), "x/a", self.VIP, 1).decision == "unspecified"


class TestObjects:
    def test_lists_of_any_order_are_read(self) -> None:
        items = [*grid(), WEB]
        as_list = {"kind": "List", "apiVersion": "v1", "items": items[::-1]}
        pods = {
            "kind": "PodList",
            "apiVersion": "v1",
            "items": [{"metadata": {"name": "e", "namespace": "x"}}],
        }
        state = ClusterState.from_objects([as_list, pods, {"kind": "Secret", "metadata": {"name": "s"}}])
        assert decide(state, "x/a", "y/b", 80).decision == "allow"
        assert decide(state, "x/e", "y/b", 80).decision == "deny"

    def test_a_namespace_that_is_not_given_has_its_automatic_label(self) -> None:
        name = {"kubernetes.io/metadata.name": "new"}
        policy = network_policy("p", "y", ingress=[rule([peer(namespaces=name)])])
        state = cluster(pod("new/a", "10.244.8.1"), policy)
        assert decide(state, "new/a", "y/b", 80).decision == "allow"
        assert decide(state, "x/a", "y/b", 80).decision == "deny"

    def test_the_later_of_two_objects_counts(self) -> None:
        state = cluster(DENY, network_policy("default-deny", "y", ingress=[rule()]))
        assert decide(state, "x/a", "y/b", 80).decision == "allow"

    @pytest.mark.parametrize(
        ("obj", "words"),
        [
            ({"metadata": {"name": "a"}}, "no Kubernetes object"),
            ({"kind": "Pod"}, "Pod without metadata.name"),
            (pod("x/a", "nowhere"), "'nowhere' is no IP address"),
            (
                {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"ports": [{}]}]}},
                "cannot be read",
            ),
        ],
    )
    def test_what_cannot_be_read_is_named(self, obj: dict[str, object], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            ClusterState.from_objects([obj])

    def test_external_addresses_are_kept(self) -> None:
        state = ClusterState.from_objects([namespace("x")], external=["192.0.2.1"])
        assert state.external == ("192.0.2.1",)
        with pytest.raises(UsageError):
            ClusterState.from_objects([], external=["here"])
