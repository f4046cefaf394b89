# SPDX-License-Identifier: Apache-2.0
"""Policies that seem to contradict each other: they add up, and none of them denies what another allows."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_cniconformance.policy.builders import Obj, expression, matching, peer, port, rule
from pytest_cniconformance.policy.cases.case import Apply, Ask, Case, Step
from pytest_cniconformance.policy.cases.shapes import OTHERS, SIDES, TCP, UDP, Side, ask, policy

ISOLATION = "networkpolicy/isolation"


def cases() -> Iterator[Case]:
    """Return the cases of this module: eight pairs of policies in each direction, one applied after the other."""
    for side in SIDES:
        some = ask(side, ("x/a",), OTHERS)
        two_ports = ask(side, ("x/a",), OTHERS, (80, 81))
        protocols = ask(side, ("x/a",), ("x/b", "y/b"), (80, 81), (TCP, UDP))
        overlap = ask(side, ("x/a", "x/b"), ("x/c", "y/b", "z/c"))
        deny = policy(side, name="deny")

        def allow(name: str, *entries: Obj, ports: tuple[Obj, ...] = (), side: Side = side) -> Obj:
            return policy(side, [rule(entries or None, ports or None)], name=name)

        pod_b, ns_y = peer(pods={"pod": "b"}), peer(namespaces={"ns": "y"})
        both = matching(expression("pod", "In", "a", "b"))
        wide = policy(side, [rule([peer(pods={})])], both, name="wide")
        yield _case(side, "all-then-none", "allow all, then deny all", some, allow("all"), deny)
        yield _case(side, "none-then-all", "deny all, then allow all", some, deny, allow("all"))
        yield _case(side, "none+pod-b", "deny all, and allow pods b", some, deny, allow("pod", pod_b))
        yield _case(side, "none+ns-y", "deny all, and allow namespace y", some, deny, allow("ns", ns_y))
        yield _case(
            side,
            "none+tcp80",
            "deny all, and allow 80/TCP",
            protocols,
            deny,
            allow("port", ports=(port(80),)),
        )
        yield _case(
            side,
            "pod-b-80+ns-y-81",
            "allow pods b on 80, and namespace y on 81",
            two_ports,
            allow("pod", pod_b, ports=(port(80),)),
            allow("ns", ns_y, ports=(port(81),)),
        )
        yield _case(
            side, "overlap", "allow the own namespace to pods a and b, and namespace y to a", overlap, wide,
            allow("narrow", ns_y),
        )  # fmt: skip
        block = peer(cidr="@net:y/b", except_=["@block:y/b"])
        yield _case(
            side, "except+pod", "a block except the address of y/b, and allow namespace y", some,
            allow("block", block), allow("ns", ns_y),
        )  # fmt: skip


def _case(side: Side, name: str, words: str, question: Ask, first: Obj, second: Obj) -> Case:
    """Ask after each of the two: the second may take nothing away that the first allows."""
    title = f"Two policies, {side}: {words}"
    return Case(
        f"NP-C-policies-{name}-{side}",
        title,
        "conflicts",
        ISOLATION,
        (
            Step("the first policy", (Apply(first),), question),
            Step("both policies", (Apply(second),), question),
        ),
    )
