# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end suite of Kubernetes asks about NetworkPolicy, and which case answers it.

Upstream has 42 cases over TCP and three each over UDP and SCTP. Most of their intents are points of the other
axes; the thirteen that are not have cases here, which like upstream's go through the Services of the pods.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_cniconformance.policy.builders import (
    Obj,
    expression,
    matching,
    network_policy,
    peer,
    port,
    rule,
)
from pytest_cniconformance.policy.cases.case import DOCS, Apply, Ask, Case, LabelPod, Step, single
from pytest_cniconformance.policy.cases.shapes import OTHERS, SCTP, TCP, UDP, Side, ask, policy

AXIS = "upstream"
ISOLATION, PEERS, EGRESS = "networkpolicy/isolation", "networkpolicy/peers", "networkpolicy/egress"
IN, OUT = Side.INGRESS, Side.EGRESS
BOTH = ["Ingress", "Egress"]

INTENTS: dict[str, str] = {
    "default deny of ingress": "NP-C-rule-none-ingress",
    "default deny of both directions": "NP-C-upstream-deny-both",
    "allow pods of the own namespace by a pod selector": "NP-C-peer-pod-b-ingress",
    "allow ingress for one target under default deny": "NP-C-upstream-target",
    "allow pods of all namespaces": "NP-C-peer-ns-any-ingress",
    "allow another namespace only": "NP-C-peer-ns-y-ingress",
    "pod selector with expressions": "NP-C-upstream-pod-expression",
    "namespace selector with expressions": "NP-C-upstream-namespace-expression",
    "pod selector or namespace selector": "NP-C-peers-pod-b.ns-z-ingress",
    "pod selector and namespace selector": "NP-C-peer-ns-y+pod-b-ingress",
    "several pod and namespace selectors": "NP-C-upstream-expressions-of-both",
    "any of several pod selectors": "NP-C-peers-pod-b.pod-c-ingress",
    "one pod of another namespace only": "NP-C-peer-ns-y+pod-b-ingress-service",
    "allow by port": "NP-C-port-tcp81-ingress",
    "stacked policies whose pod selectors overlap": "NP-C-upstream-stacked",
    "allow all": "NP-C-rule-empty-ingress",
    "ingress to a named port": "NP-C-port-tcp-name80-ingress",
    "ingress from a namespace to a named port": "NP-C-upstream-namespace-to-name",
    "egress to a named port": "NP-C-port-tcp-name80-egress",
    "an updated policy": "NP-C-change-policy-update-ingress",
    "a namespace that is relabelled": "NP-C-change-namespace-label-ingress",
    "a peer that is relabelled": "NP-C-change-pod-label-ingress",
    "deny other namespaces": "NP-C-peer-pods-any-ingress",
    "a target that is relabelled": "NP-C-upstream-target-label",
    "deny egress of the selected pods": "NP-C-target-pod-a-egress",
    "deny egress of a whole namespace": "NP-C-rule-none-egress",
    "ingress and egress in one policy": "NP-C-upstream-both-directions",
    "egress denied at the client though the server allows": "NP-C-upstream-client-denied",
    "egress to a pod of another namespace": "NP-C-peer-ns-y+pod-b-egress",
    "any port of one protocol": "NP-C-port-tcp-ingress",
    "allow-all of ingress beside a deny": "NP-C-policies-none-then-all-ingress",
    "allow-all of egress beside a deny": "NP-C-policies-none-then-all-egress",
    "nothing is enforced after deletion": "NP-C-change-policy-delete",
    "egress to a block": "NP-IPB-1",
    "egress to a block with exceptions": "NP-IPB-1",
    "an address in a block and in its exceptions": "NP-IPB-1",
    "ingress and egress of one pod are independent": "NP-C-upstream-independent",
    "a rule for SCTP is none for TCP": "NP-C-upstream-sctp-is-not-tcp",
    "a rule for SCTP isolates": "NP-C-upstream-sctp-isolates",
    "a rule for UDP is none for TCP": "NP-C-port-udp80-ingress",
    "the automatic label by label": "NP-C-namespace-name-label-ingress",
    "the automatic label by expression": "NP-C-namespace-name-expression-ingress",
    "UDP: default deny of ingress": "NP-C-rule-none-ingress-udp",
    "UDP: allow by port": "NP-C-port-udp81-ingress",
    "UDP: one pod of another namespace only": "NP-C-peer-ns-y+pod-b-ingress-udp",
    "SCTP: default deny of ingress": "NP-C-rule-none-ingress-sctp",
    "SCTP: allow by port": "NP-C-port-sctp81-ingress",
    "SCTP: one pod of another namespace only": "NP-C-peer-ns-y+pod-b-ingress-sctp",
}
"""Every intent of upstream's suite, in our words, and the requirement that decides it."""


def _one(name: str, title: str, question: Ask, *policies: Obj, feature: str = PEERS) -> Case:
    return single(
        f"NP-C-upstream-{name}", title, AXIS, feature, question, *policies, service=True, source=DOCS
    )


def selections() -> Iterator[Case]:
    """Yield selectors with expressions, a target among denied pods, policies that overlap."""
    some = ask(IN, ("x/a",), OTHERS)
    b_or_c = matching(expression("pod", "In", "b", "c"))
    not_x = matching(expression("ns", "NotIn", "x"))
    yield _one(
        "pod-expression", "Peers by expressions on pod labels", some,
        policy(IN, [rule([peer(pods=matching(expression("pod", "In", "b")))])]),
    )  # fmt: skip
    yield _one(
        "namespace-expression", "Peers by expressions on namespace labels", some,
        policy(IN, [rule([peer(namespaces=not_x)])]),
    )  # fmt: skip
    yield _one(
        "expressions-of-both", "Peers by expressions on pod and on namespace labels",
        ask(IN, ("x/a",), (*OTHERS, "y/a")), policy(IN, [rule([peer(pods=b_or_c, namespaces=not_x)])]),
    )  # fmt: skip
    yield _one(
        "target", "Under default deny one pod is opened to everybody", ask(IN, ("x/a", "x/b"), ("x/c", "y/b")),
        policy(IN, pods={}, name="deny"), policy(IN, [rule()], name="open"), feature=ISOLATION,
    )  # fmt: skip
    stacked = policy(IN, [rule([peer(namespaces=not_x)], [port(81)])], {}, name="second")
    yield _one(
        "stacked", "Policies whose pod selectors overlap add up",
        ask(IN, ("x/a", "x/b"), ("x/c", "y/b"), (80, 81)),
        policy(IN, [rule([peer(pods={})], [port(80)])], name="first"), stacked, feature=ISOLATION,
    )  # fmt: skip
    yield _one(
        "namespace-to-name", "From one namespace to a named port", ask(IN, ("x/a",), ("x/b", "y/b"), (80, 81)),
        policy(IN, [rule([peer(namespaces={"ns": "y"})], [port("serve-80-tcp")])]),
        feature="networkpolicy/named-ports",
    )  # fmt: skip
    denied = policy(IN, pods={"guarded": "yes"})
    yield Case(
        "NP-C-upstream-target-label",
        "A pod is isolated as soon as it has the label, and open as soon as it has not",
        AXIS,
        "networkpolicy/dynamics",
        (
            Step("x/b has the label", (Apply(denied), LabelPod("x/b", {"guarded": "yes"})), some_targets()),
            Step("x/a has it too", (LabelPod("x/a", {"guarded": "yes"}),), some_targets()),
            Step("only x/b has it", (LabelPod("x/a", {"guarded": None}),), some_targets()),
        ),
        DOCS,
        service=True,
    )


def some_targets() -> Ask:
    """Return the question about two targets from near and far."""
    return ask(IN, ("x/a", "x/b"), ("x/c", "y/b"))


def directions() -> Iterator[Case]:
    """Yield both directions: in one policy, in two, and against each other."""
    yield _one(
        "deny-both", "One policy denies both directions", Ask(("x/a", "y/b"), ("x/a", "x/b", "y/b")),
        network_policy("deny", "x", {}, types=BOTH), feature=ISOLATION,
    )  # fmt: skip
    together = network_policy(
        "case", "x", {"pod": "a"}, types=BOTH,
        ingress=[rule([peer(pods={"pod": "b"})])], egress=[rule([peer(namespaces={"ns": "y"})])],
    )  # fmt: skip
    yield _one(
        "both-directions", "One policy allows in from some and out to others",
        Ask(("x/a", "x/b", "y/b"), ("x/a", "x/b", "y/b")), together, feature=EGRESS,
    )  # fmt: skip
    yield _one(
        "client-denied", "Egress that the client's policy denies stays denied though the server allows it",
        Ask(("x/a", "x/b"), ("y/b", "y/c")),
        policy(OUT, [rule([peer(namespaces={"ns": "y"}, pods={"pod": "c"})])], name="client"),
        policy(IN, [rule()], {}, name="server", namespace="y"), feature=EGRESS,
    )  # fmt: skip
    yield _one(
        "independent", "A pod's ingress and egress follow policies of their own",
        Ask(("x/a", "x/b", "x/c"), ("x/a", "x/b", "x/c")),
        policy(OUT, [rule([peer(pods={"pod": "b"})])], name="out"),
        policy(IN, [rule([peer(pods={"pod": "c"})])], name="in"), feature=EGRESS,
    )  # fmt: skip


def sctp() -> Iterator[Case]:
    """Yield rules for SCTP, which mean what they say where nothing speaks SCTP, too."""
    only = [rule(ports=[port(80, SCTP)])]
    yield _one(
        "sctp-is-not-tcp", "A rule for SCTP opens its port neither for TCP nor for UDP",
        ask(IN, ("x/a",), ("x/b", "y/b"), (80,), (TCP, UDP)),
        policy(IN, [*only, rule(ports=[port(81)])]), feature="networkpolicy/ports",
    )  # fmt: skip
    yield _one(
        "sctp-isolates", "A policy that allows nothing but SCTP isolates its pods",
        ask(IN, ("x/a", "x/b"), ("x/c", "y/b"), (80, 81)), policy(IN, only), feature=ISOLATION,
    )  # fmt: skip


def example() -> Iterator[Case]:
    """Yield three tiers, as users write them."""
    web, store = {"pod": "b"}, {"pod": "c"}
    front = network_policy("front", "x", web, ingress=[rule([peer(namespaces={"ns": "y"})], [port(80)])])
    back = network_policy("back", "x", store, ingress=[rule([peer(pods=web)], [port(81)])])
    tiers = network_policy("rest", "x", {}, types=["Ingress"])
    yield single(
        "NP-C-example-tiers",
        "Three tiers: clients reach the front on its port, the front reaches the store on its port, nobody else",
        "example",
        ISOLATION,
        Ask(("y/a", "x/a", "x/b"), ("x/b", "x/c", "x/a"), (80, 81)),
        front,
        back,
        tiers,
    )


def cases() -> Iterator[Case]:
    """Return the cases of this module."""
    yield from selections()
    yield from directions()
    yield from sctp()
    yield from example()
