# SPDX-License-Identifier: Apache-2.0
"""One verdict, four ways: ``decide``, ``expected_matrix``, ``reach`` and ``Rulings`` agree with a naive evaluator."""

from __future__ import annotations

import ipaddress
import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.policy import ClusterState, decide, expected_matrix, reach
from pytest_cniconformance.policy.builders import Obj, network_policy, peer, port, rule
from pytest_cniconformance.policy.matrix import Rulings, fill
from pytest_cniconformance.policy.survey import Survey
from tests.policy import naive
from tests.policy.strategies import (
    OUTSIDE,
    OUTSIDE6,
    PROTOCOLS,
    SUBNET,
    SUBNET6,
    labels,
    mixed_worlds,
    policy_sets,
)

WORDS = {True: "allow", False: "deny", None: "unspecified"}
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
drawn = given(
    mixed_worlds(),
    policy_sets(),
    st.integers(79, 83),
    st.sampled_from(PROTOCOLS),
    st.sampled_from(["ipv4", "ipv6"]),
)


@relaxed
@drawn
def test_decide_and_the_matrix_agree_with_a_naive_evaluator(
    world: list[Obj], policies: list[Obj], port: int, protocol: str, family: str
) -> None:
    state = ClusterState.from_objects([*world, *policies])
    outside = OUTSIDE if family == "ipv4" else OUTSIDE6
    simple = naive.world_of([*world, *policies], dict.fromkeys(outside, family))
    cells = [Cell(s, d, port, protocol, family) for s, d in itertools.product(simple.ends, simple.ends)]
    matrix = expected_matrix(state, cells)
    for cell in cells:
        egress, ingress = naive.judge(simple, cell.source, cell.destination, port, protocol, family)
        ruling = decide(state, *cell)
        assert (ruling.egress, ruling.ingress) == (WORDS[egress], WORDS[ingress]), (cell, ruling)
        assert ruling.decision == WORDS[naive.both(egress, ingress)]
        assert (matrix[cell].decision, matrix[cell].because) == (ruling.decision, ruling.because)
        assert all(ruling.because)


@relaxed
@drawn
def test_reach_and_rulings_agree_with_a_naive_evaluator(
    world: list[Obj], policies: list[Obj], port: int, protocol: str, family: str
) -> None:
    state = ClusterState.from_objects([*world, *policies])
    simple = naive.world_of([*world, *policies], {})
    masks, rulings = reach(state, port, protocol, family), Rulings(state, port, protocol, family)
    for (i, s), (j, d) in itertools.product(enumerate(state.pods), enumerate(state.pods)):
        halves = naive.judge(simple, s.key, d.key, port, protocol, family)
        assert masks.decision(i, j) == WORDS[naive.both(*halves)], (s.key, d.key)
        told = fill(rulings.between(s.key, d.key), s.key, d.key)
        assert told == decide(state, s.key, d.key, port, protocol, family)


@relaxed
@given(
    mixed_worlds(),
    policy_sets(),
    labels,
    st.sampled_from(["web", 79, 81]),
    st.sampled_from(PROTOCOLS),
    st.sampled_from([str(SUBNET[11]), str(SUBNET6[11])]),
    st.sampled_from([None, 80, 81]),
)
def test_services_are_judged_by_their_backends(
    world: list[Obj],
    policies: list[Obj],
    selector: dict[str, str],
    target: int | str,
    protocol: str,
    vip: str,
    allowed: int | None,
) -> None:
    # Pods that may send to the Service's address and nowhere else: NP-IPB-5 is rare among random policies.
    whole = ipaddress.ip_network(vip).prefixlen
    to_vip = rule([peer(cidr=f"{vip}/{whole}")], None if allowed is None else [port(allowed, protocol)])
    policies = [*policies, network_policy("vip", "y", egress=[to_vip], types=["Egress"])]
    spec = {
        "clusterIP": vip,
        "selector": selector or {"k": "1"},
        "ports": [{"port": 80, "protocol": protocol, "targetPort": target}],
    }
    service = {"kind": "Service", "metadata": {"name": "s", "namespace": "x"}, "spec": spec}
    state = ClusterState.from_objects([*world, *policies, service])
    simple = naive.world_of([*world, *policies], {})
    backends = [
        (name, number)
        for name, end in simple.ends.items()
        if end.namespace == "x" and (selector or {"k": "1"}).items() <= end.labels.items()
        for number in ([target] if isinstance(target, int) else _named(end, target, protocol))
    ]
    for source in simple.ends:
        ruling = decide(state, source, vip, 80, protocol)
        assert ruling.decision == WORDS[naive.judge_service(simple, source, vip, backends, 80, protocol)], (
            source,
            ruling,
        )
        assert all(ruling.because)


def _named(end: naive.End, name: str, protocol: str) -> list[int]:
    return [number for n, p, number in end.named if (n, p) == (name, protocol)][:1]


@relaxed
@drawn
def test_a_survey_tells_families_apart_exactly_where_they_differ(
    world: list[Obj], policies: list[Obj], port: int, protocol: str, _: str
) -> None:
    state = ClusterState.from_objects([*world, *policies])
    simple = naive.world_of([*world, *policies], {})
    names = [pod.key for pod in state.pods]
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entry in Survey(state, names, names, [(port, protocol)]):
        of_pair = found.setdefault((entry.source, entry.destination), {})
        assert entry.family not in of_pair
        of_pair[entry.family] = entry.told.decision
    assert found.keys() == set(itertools.product(names, names))
    for (s, d), verdicts in found.items():
        ends = simple.ends[s].ips, simple.ends[d].ips
        families = set(ends[0]) & set(ends[1]) if all(ends) else set(ends[0]) | set(ends[1])
        for family in families:
            halves = naive.judge(simple, s, d, port, protocol, family)
            assert verdicts.get(family, verdicts.get("")) == WORDS[naive.both(*halves)]
        assert set(verdicts) in ({""}, {"ipv4", "ipv6"})
