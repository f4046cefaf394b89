# SPDX-License-Identifier: Apache-2.0
"""What must hold of any cluster and any policies: metamorphic laws."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_cniconformance.model.matrix import Decision
from pytest_cniconformance.policy import ClusterState, decide, reach
from pytest_cniconformance.policy.builders import Obj
from tests.policy.strategies import OUTSIDE, PROTOCOLS, policy_sets, rules, worlds

ORDER = {Decision.DENY: 0, Decision.UNSPECIFIED: 1, Decision.ALLOW: 2}
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=75)


def table(state: ClusterState) -> dict[tuple[str, str, int, str], Decision]:
    names = [*(pod.key for pod in state.pods), *OUTSIDE]
    return {
        (s, d, port, protocol): decide(state, s, d, port, protocol).decision
        for s, d in itertools.product(names, names)
        for port, protocol in itertools.product((80, 82), PROTOCOLS[:2])
    }


@relaxed
@given(worlds(), policy_sets(), st.randoms(use_true_random=False))
def test_the_order_of_objects_means_nothing(world: list[Obj], policies: list[Obj], random: Any) -> None:
    before = table(ClusterState.from_objects([*world, *policies]))
    objs = [*world, *policies]
    random.shuffle(objs)
    assert table(ClusterState.from_objects(objs)) == before


@relaxed
@given(worlds(), policy_sets(max_size=3), rules, st.sampled_from(["ingress", "egress"]), st.data())
def test_a_rule_more_only_widens(
    world: list[Obj], policies: list[Obj], extra: Any, section: str, data: st.DataObject
) -> None:
    from pytest_cniconformance.policy.builders import _rule

    kind = section.capitalize()
    fitting = [p for p in policies if kind in p["spec"].get("policyTypes", [])]
    if not fitting:
        return
    before = table(ClusterState.from_objects([*world, *policies]))
    spec = data.draw(st.sampled_from(fitting))["spec"]
    spec[section] = [*spec.get(section, []), _rule(extra, "from" if section == "ingress" else "to")]
    after = table(ClusterState.from_objects([*world, *policies]))
    assert all(ORDER[after[cell]] >= ORDER[before[cell]] for cell in before)


@relaxed
@given(worlds(), policy_sets(max_size=1))
def test_the_first_policy_only_narrows(world: list[Obj], policies: list[Obj]) -> None:
    before = table(ClusterState.from_objects(world))
    after = table(ClusterState.from_objects([*world, *policies]))
    assert set(before.values()) == {Decision.ALLOW}
    assert all(ORDER[after[cell]] <= ORDER[before[cell]] for cell in before)


@relaxed
@given(worlds(), policy_sets())
def test_a_rule_with_two_peers_is_two_rules(world: list[Obj], policies: list[Obj]) -> None:
    before = table(ClusterState.from_objects([*world, *policies]))
    for policy in policies:
        for section, side in (("ingress", "from"), ("egress", "to")):
            split = []
            for rule in policy["spec"].get(section) or []:
                split += [{**rule, side: [peer]} for peer in rule.get(side) or []] or [rule]
            if split:
                policy["spec"][section] = split
    assert table(ClusterState.from_objects([*world, *policies])) == before


@relaxed
@given(worlds(), policy_sets())
def test_renaming_labels_everywhere_means_nothing(world: list[Obj], policies: list[Obj]) -> None:
    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            {"k": "team", "l": "tier"}.get(key, key): {"k": "team", "l": "tier"}.get(item, item)
            if key == "key"
            else renamed(item)
            for key, item in value.items()
        }

    objs = [*world, *policies]
    assert table(ClusterState.from_objects(renamed(objs))) == table(ClusterState.from_objects(objs))


@relaxed
@given(worlds(), policy_sets(), policy_sets(max_size=2))
def test_policies_can_be_swapped_on_the_same_pods(
    world: list[Obj], first: list[Obj], second: list[Obj]
) -> None:
    state = ClusterState.from_objects([*world, *first]).with_policies(second)
    assert table(state) == table(ClusterState.from_objects([*world, *second]))


@pytest.mark.parametrize("count", [300])
def test_many_pods_and_policies_are_one_pass(count: int) -> None:
    """A size at which a loop over pairs and rules would take minutes."""
    pods = [
        {
            "kind": "Pod",
            "metadata": {"name": f"p{i}", "namespace": f"n{i % 10}", "labels": {"app": f"a{i % 20}"}},
            "status": {"podIP": f"10.0.{i // 250}.{i % 250 + 1}"},
        }
        for i in range(count)
    ]
    policies = [
        {
            "kind": "NetworkPolicy",
            "metadata": {"name": f"p{i}", "namespace": f"n{i % 10}"},
            "spec": {
                "podSelector": {"matchLabels": {"app": f"a{i % 20}"}},
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {},
                                "podSelector": {"matchLabels": {"app": f"a{(i + 1) % 20}"}},
                            }
                        ],
                        "ports": [{"port": 80}],
                    }
                ],
            },
        }
        for i in range(count)
    ]
    found = reach(ClusterState.from_objects([*pods, *policies]), 80)
    assert found.decision(0, 1) is Decision.DENY  # a0 → a1, which admits a2 only
    assert found.decision(2, 1) is Decision.ALLOW
    assert sum(row.bit_count() for row in found.allowed) == count * (count // 20) + count
