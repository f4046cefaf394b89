# SPDX-License-Identifier: Apache-2.0
"""A disagreement comes down to what a reader can take in, in few questions."""

from __future__ import annotations

import pytest

from pytest_cniconformance.policy import invalid
from pytest_cniconformance.policy.randomcases.case import Case
from pytest_cniconformance.policy.randomcases.draw import visit_cases
from pytest_cniconformance.policy.randomcases.shrink import shrink
from tests.policy.simulation import ADDRESSES, FAULTS, mismatches


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_shrinks_to_one_policy_and_two_pods(name: str, seed: int) -> None:
    fault = FAULTS[name]
    found: list[Case] = []
    visit_cases(
        f"{name}{seed}", 600, lambda case: not (mismatches(case, fault) and (found.append(case) or True))
    )
    questions = 0

    def disagrees(case: Case) -> bool:
        nonlocal questions
        questions += 1
        for stage in case.stages:
            assert not any(invalid(ADDRESSES.resolve(policy)) for policy in stage.policies)
        return bool(mismatches(case, fault))

    cell = mismatches(found[0], fault)[0].cell
    smallest = shrink(found[0], disagrees, pods=[cell.source, cell.destination])
    assert mismatches(smallest, fault)
    assert (len(smallest.stages), smallest.policies) == (1, 1)
    assert len(smallest.pods) <= 2 and smallest.size <= found[0].size
    assert questions <= 60


def test_an_update_that_matters_keeps_both_stages() -> None:
    found: list[Case] = []
    visit_cases(1, 50, lambda case: len(case.stages) < 2 or found.append(case) or False)

    def disagrees(case: Case) -> bool:
        return len(case.stages) == 2 and all(stage.policies for stage in case.stages)

    smallest = shrink(found[0], disagrees)
    assert [len(stage.policies) for stage in smallest.stages] == [1, 1]
    assert smallest.pods and len(smallest.pods) == 1
    assert all(not labels for stage in smallest.stages for labels in stage.pods.values())


def test_what_the_question_raises_ends_the_search() -> None:
    found: list[Case] = []
    visit_cases(1, 1, lambda case: found.append(case) or True)

    def disagrees(case: Case) -> bool:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        shrink(found[0], disagrees)
