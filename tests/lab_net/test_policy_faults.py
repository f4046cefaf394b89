# SPDX-License-Identifier: Apache-2.0
"""Faults of the policy engine on paper: what it takes policies and pods for, and where each fault is at home."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.lab.dataplane import networkpolicy
from pytest_cniconformance.lab.dataplane.agentcache import BELIEFS, NETWORK_POLICIES, AgentCache
from pytest_cniconformance.lab.dataplane.misreadings import MISREADINGS, misread
from pytest_cniconformance.lab.dataplane.policy import SEMANTICS
from pytest_cniconformance.lab.dataplane.policyfaults import DEVIATIONS, OVERDONE, overdone, semantics_of

Spec = dict[str, Any]
Y, B = {"matchLabels": {"ns": "y"}}, {"matchLabels": {"pod": "b"}}
P80, P81, WEB = {"port": 80}, {"port": 81}, {"port": "web"}
RANGE = {"port": 80, "endPort": 90}
BLOCK = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}
WORLD = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fd00:10:244::/48"]}},
]


def rule(*ports: Spec, **peer: Any) -> Spec:
    return {**({"from": [peer]} if peer else {}), **({"ports": list(ports)} if ports else {})}


def block(**fields: Any) -> Spec:
    return rule(ipBlock=BLOCK | fields)


def where(operator: str, *values: str) -> Spec:
    """Give the rule for pods by one expression."""
    expression = {"key": "k", "operator": operator, **({"values": list(values)} if values else {})}
    return rule(podSelector={"matchExpressions": [expression]})


def expressions(*entries: Spec) -> Spec:
    return rule(podSelector={"matchExpressions": list(entries)})


# The rules that a policy has, and those that the engine takes it to have.
RULES: dict[str, tuple[list[Spec], list[Spec]]] = {
    "allow-rules-dropped": ([rule(P80)], []),
    "empty-list-allows": ([], [{}]),
    "empty-rule-matches-nothing": ([{}, rule(P80)], [rule(P80)]),
    "only-first-rule": ([rule(P80), rule(P81)], [rule(P80)]),
    "cross-rule": (
        [rule(P80, podSelector=B), rule(P81, namespaceSelector=Y)],
        [{"from": [{"podSelector": B}, {"namespaceSelector": Y}], "ports": [P80, P81]}],
    ),
    "no-peers-means-pods": ([rule(P80)], [rule(P80, namespaceSelector={})]),
    "no-peers-means-own-namespace": ([rule(P80)], [rule(P80, podSelector={})]),
    "only-first-peer": ([{"from": [{"podSelector": B}, {"podSelector": {}}]}], [rule(podSelector=B)]),
    "and-as-or": (
        [rule(podSelector=B, namespaceSelector=Y)],
        [{"from": [{"namespaceSelector": Y}, {"podSelector": B}]}],
    ),
    "peer-not-namespaced": ([rule(podSelector=B)], [rule(namespaceSelector={}, podSelector=B)]),
    "peer-namespace-ignored": ([rule(podSelector=B, namespaceSelector=Y)], [rule(podSelector=B)]),
    "namespace-selector-all-addresses": (
        [rule(namespaceSelector={})],
        [{"from": [{"namespaceSelector": {}}, *WORLD]}],
    ),
    "negative-selects-world": ([where("NotIn", "v")], [{"from": [*where("NotIn", "v")["from"], *WORLD]}]),
    "expressions-ignored": ([where("Exists")], [expressions()]),
    "expression-values-dropped": (
        [where("In", "v")],
        [expressions({"key": "k", "operator": "In", "values": []})],
    ),
    "in-first-value": ([where("In", "v", "w")], [where("In", "v")]),
    "notin-needs-key": (
        [where("NotIn", "v")],
        [
            expressions(
                *({"key": "k", "operator": "NotIn", "values": ["v"]}, {"key": "k", "operator": "Exists"})
            )
        ],
    ),
    "ports-ignored": ([rule(P80, podSelector=B)], [rule(podSelector=B)]),
    "no-ports-means-tcp": ([{}, rule(P80)], [rule({}), rule(P80)]),
    "only-first-port": ([rule(P80, P81)], [rule(P80)]),
    "port-protocol-ignored": ([rule(P80)], [rule(*({**P80, "protocol": p} for p in ("TCP", "UDP", "SCTP")))]),
    "portless-entry-opens-all": (
        [rule({"protocol": "UDP"}, P80)],
        [rule({"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}, P80)],
    ),
    "portless-entry-dropped": ([rule({"protocol": "UDP"}, P80), rule({"protocol": "UDP"})], [rule(P80)]),
    "named-port-opens-all": ([rule(WEB, P80)], [rule({}, P80)]),
    "named-port-dropped": ([rule(WEB, P80), rule(WEB)], [rule(P80)]),
    "endport-ignored": ([rule(RANGE)], [rule(P80)]),
    "endport-exclusive": (
        [rule(RANGE), rule({"port": 7, "endPort": 7})],
        [rule({"port": 80, "endPort": 89})],
    ),
    "endport-one-too-many": ([rule(RANGE)], [rule({"port": 80, "endPort": 91})]),
    "range-start-excluded": ([rule(RANGE)], [rule({"port": 81, "endPort": 90})]),
    "range-truncated": ([rule({"port": 1, "endPort": 65535})], [rule({"port": 1, "endPort": 1024})]),
    "egress-dns-port": ([rule({"port": 53}, P80)], [rule({"port": 5353}, P80)]),
    "range-means-tcp": ([rule({**RANGE, "protocol": "UDP"})], [rule({**RANGE, "protocol": "TCP"})]),
    "only-first-range": ([rule(RANGE, P80, {"port": 85, "endPort": 95})], [rule(RANGE, P80)]),
    "ipblock-matches-nothing": ([block(), rule(P80)], [rule(P80)]),
    "except-ignored": ([block()], [rule(ipBlock={"cidr": BLOCK["cidr"]})]),
    "only-first-except": ([block()], [block(**{"except": ["10.1.0.0/16"]})]),
    "excepts-merged": (
        [block(), rule(ipBlock={"cidr": "10.1.2.0/24"})],
        [block(), rule(ipBlock={"cidr": "10.1.2.0/24", "except": BLOCK["except"]})],
    ),
    "prefix-too-short": ([block(cidr="10.0.0.1/32")], [block(cidr="10.0.0.0/31")]),
    "slash-zero-matches-nothing": ([block(cidr="0.0.0.0/0"), block()], [block()]),
    "block-ports-overwritten": (
        [rule(P80, ipBlock=BLOCK), rule(P81, ipBlock=BLOCK)],
        [rule(P81, ipBlock=BLOCK)],
    ),
    "block-port-skips-source": ([rule(P80, ipBlock=BLOCK), block()], [rule(P80), block()]),
}
TYPES: dict[str, tuple[Spec, list[str]]] = {
    "egress-not-enforced": ({"policyTypes": ["Ingress", "Egress"]}, ["Ingress"]),
    "direction-ignored": ({"policyTypes": ["Egress"]}, ["Ingress", "Egress"]),
    "unlisted-section-enforced": ({"policyTypes": ["Egress"], "ingress": [{}]}, ["Egress", "Ingress"]),
    "default-types-wrong": ({"policyTypes": ["Ingress", "Egress"], "egress": [{}]}, ["Egress"]),
}


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_misread(name: str) -> None:
    meant, understood = RULES[name]
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": meant}
    before = repr(spec)
    assert misread(spec, [name]).get("ingress") == understood
    assert repr(spec) == before and misread(spec, []) == spec


@pytest.mark.parametrize("name", TYPES)
def test_the_directions_are_misread(name: str) -> None:
    spec, understood = TYPES[name]
    assert misread(spec, [name])["policyTypes"] == understood


def test_rules_of_one_direction_are_read_as_of_both() -> None:
    both = {"podSelector": B, "policyTypes": ["Ingress", "Egress"], "ingress": [rule(P80, podSelector=B)]}
    understood = misread(both, ["directions-share-rules"])
    assert understood["egress"] == [{"to": [{"podSelector": B}], "ports": [P80]}]
    assert understood["ingress"] == both["ingress"]
    one = {**both, "policyTypes": ["Ingress"]}
    assert misread(one, ["directions-share-rules"]) == one


class Store:
    """Holds what a test puts into it."""

    def __init__(self, **objects: list[Spec]) -> None:
        self.objects = objects

    def list(self, resource: str, namespace: str | None = None) -> list[Spec]:
        return self.objects.get(resource.partition(".")[0], [])


def named(
    name: str, uid: str = "", version: int = 1, labels: dict[str, str] | None = None, **spec: Any
) -> Spec:
    meta = {"namespace": "x", "name": name, "uid": uid or name, "resourceVersion": str(version)}
    return {"metadata": meta | {"labels": labels or {}}, "spec": spec}


def container(**numbers: int) -> Spec:
    return {"ports": [{"name": name, "containerPort": number} for name, number in numbers.items()]}


def policies(*found: Spec) -> dict[str, list[Spec]]:
    return {"networkpolicies": list(found)}


OLD, NEW = (
    named("p", podSelector=B, policyTypes=["Ingress", "Egress"]),
    named("p", version=2, policyTypes=["Egress"]),
)
KEPT = {"podSelector": B, "policyTypes": ["Egress"]}
SHARED = named("q", ingress=[rule(podSelector=B), rule(namespaceSelector=Y)])
NOBODY = {"podSelector": {"matchExpressions": [{"key": "nobody", "operator": "In", "values": []}]}}
DELETED = {**named("p"), "metadata": {**named("p")["metadata"], "deletionTimestamp": "now"}}
WEB_OF_A = {"name": "all", "ports": container(web=80)["ports"]}
# What the store holds at first and then, and what the agent believes in the end (of the first resource).
STORIES: dict[str, tuple[dict[str, list[Spec]], dict[str, list[Spec]], list[Spec]]] = {
    "update-ignored": (policies(OLD), policies(NEW), [OLD]),
    "recreated-policy-stale": (policies(OLD), policies(named("p", "other")), [OLD]),
    "stale-after-delete": (policies(OLD), policies(), [OLD]),
    "last-update-lost": (policies(OLD), policies(NEW), [OLD]),
    "old-subjects-stay": (
        policies(OLD),
        policies(NEW),
        [NEW, {"metadata": {**NEW["metadata"], "name": "p.0"}, "spec": KEPT}],
    ),
    "types-only-grow": (
        policies(OLD),
        policies(NEW),
        [{**NEW, "spec": {"policyTypes": ["Ingress", "Egress"]}}],
    ),
    "only-first-hundred": (
        policies(),
        policies(*(named(f"p{n}") for n in range(101))),
        [named(f"p{n}") for n in range(100)],
    ),
    "delete-takes-shared-peers": (
        policies(named("p", ingress=[rule(podSelector=B)]), SHARED),
        policies(SHARED),
        [named("q", ingress=[rule(**NOBODY), rule(namespaceSelector=Y)])],
    ),
    "pod-relabel-ignored": (
        {"pods": [named("a", labels={"k": "v"})]},
        {"pods": [named("a", labels={"k": "w"}), named("b")]},
        [named("a", labels={"k": "v"}), named("b")],
    ),
    "namespace-relabel-ignored": (
        {"namespaces": [named("x", labels={"k": "v"})]},
        {"namespaces": [named("x", labels={})]},
        [named("x", labels={"k": "v"})],
    ),
    "namespace-labels-by-name": (
        {"namespaces": [named("x", "one", labels={"k": "v"})]},
        {"namespaces": [named("x", "two", labels={})]},
        [named("x", "two", labels={"k": "v"})],
    ),
    "namespace-name-label-unknown": (
        {"namespaces": []},
        {"namespaces": [named("x", labels={"kubernetes.io/metadata.name": "x", "k": "v"})]},
        [named("x", labels={"k": "v"})],
    ),
    "empty-value-is-absent": (
        {"pods": []},
        {"pods": [named("a", labels={"k": "", "l": "v"})]},
        [named("a", labels={"l": "v"})],
    ),
    "terminating-forgotten": ({"pods": [named("p")]}, {"pods": [DELETED, named("q")]}, [named("q")]),
    "finished-pods-remembered": (
        {"pods": [named("p")]},
        {"pods": [{**named("p"), "status": {"phase": "Succeeded"}}]},
        [{**named("p"), "status": {"phase": "Running"}}],
    ),
    "late-pods-unknown": (
        {"pods": [named("a")], **policies(OLD)},
        {"pods": [named("a"), named("b")], **policies(OLD)},
        [named("a")],
    ),
    "sidecar-ports-unknown": (
        {"pods": []},
        {"pods": [named("a", initContainers=[container(web=80)])]},
        [named("a", initContainers=[])],
    ),
    "named-port-any-protocol": (
        {"pods": []},
        {"pods": [named("a", containers=[container(web=80)])]},
        [
            named(
                "a",
                containers=[
                    {
                        "ports": [
                            {**container(web=80)["ports"][0], "protocol": p} for p in ("TCP", "UDP", "SCTP")
                        ]
                    }
                ],
            )
        ],
    ),
    "named-port-of-first-pod": (
        {"pods": []},
        {"pods": [named("a", containers=[container(web=80)]), named("b", containers=[container(web=81)])]},
        [
            named("a", containers=[WEB_OF_A], initContainers=[]),
            named("b", containers=[WEB_OF_A], initContainers=[]),
        ],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_agent_believes_otherwise(name: str) -> None:
    first, then, believed = STORIES[name]
    about = BELIEFS[name][0]
    store = Store(**first)
    cache, sound = AgentCache(store, [name]), AgentCache(store, [])
    cache.list(about)
    store.objects = then
    assert cache.list(about) == believed
    assert sound.list(about) == store.list(about)


def test_deviations_of_one_profile_are_faults_of_another() -> None:
    for name, fields in DEVIATIONS.items():
        assert semantics_of("calico", [name]) != SEMANTICS["calico"]
        assert all(getattr(semantics_of("calico", [name]), field) is value for field, value in fields.items())
    assert semantics_of("calico", []) == SEMANTICS["calico"]
    assert semantics_of("flannel", DEVIATIONS) is None


def test_policies_are_overdone() -> None:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [block()]}
    policy = networkpolicy.parse({**named("p"), "spec": spec}, SEMANTICS["calico"])
    [denying] = overdone([policy], ["except-as-deny"])
    assert [(r.deny, [p.cidr for p in r.peers]) for r in denying.ingress] == [  # type: ignore[union-attr]
        (False, ["10.0.0.0/8"]),
        (True, ["10.1.0.0/16", "10.2.0.0/16"]),
    ]
    [everywhere] = overdone([policy], ["subject-not-namespaced"])
    assert (policy.subject.namespace, everywhere.subject.namespace) == ("x", None)


def test_every_table_is_tested() -> None:
    assert {*RULES, *TYPES, "directions-share-rules"} == set(MISREADINGS)
    assert set(STORIES) == set(BELIEFS)
    assert {"except-as-deny", "subject-not-namespaced"} == set(OVERDONE)
    assert {resource for resource, _ in BELIEFS.values()} == {NETWORK_POLICIES, "pods", "namespaces"}
