# SPDX-License-Identifier: Apache-2.0
"""Every generated case can fail: what ignores policies, or loses what they allow, shows in each of them."""

from __future__ import annotations

from pytest_cniconformance.policy.cases import CASES
from tests.e2e.running import CASES_SUITE, Lab


def outcomes(lab: Lab, fault: str, *nodeids: str) -> dict[str, str]:
    # The Services of some cases get their time although policies never come.
    record = lab.run("calico", *nodeids, "-n", "2", faults=[fault], expect=1, scale="0.3")
    for check in record["checks"]:
        if check["outcome"] == "failed":
            assert check["reproduce"][0].endswith(f"-k 'test_case[{check['id']}]'")
            assert check["matrices"] and check["mismatches"][0]["because"]
    return {check["id"]: check["outcome"] for check in record["checks"]}


def test_every_case_is_killed_by_a_broad_fault(lab: Lab) -> None:
    open_to_all = outcomes(lab, "policies-ignored", CASES_SUITE)
    assert set(open_to_all) == {case.id for case in CASES}
    skipped = {id for id, outcome in open_to_all.items() if outcome == "skipped"}
    assert skipped <= {case.id for case in CASES if case.needs}
    passed = [id for id, outcome in open_to_all.items() if outcome == "passed"]
    closed_to_all = outcomes(
        lab, "allow-rules-dropped", *(f"{CASES_SUITE}::test_case[{id}]" for id in passed)
    )
    assert closed_to_all == dict.fromkeys(passed, "failed")
    assert set(open_to_all) == skipped | set(passed) | {
        id for id, outcome in open_to_all.items() if outcome == "failed"
    }
