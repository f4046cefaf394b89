# SPDX-License-Identifier: Apache-2.0
"""Every fault of the registry is caught by the checks that it names: a check that cannot fail is worthless."""

from __future__ import annotations

import pytest

from pytest_cniconformance.cli.catalogue import entries
from pytest_cniconformance.lab.faults import FAULTS
from pytest_cniconformance.model.requirement import Level
from pytest_cniconformance.policy.cases import CASES
from tests.e2e.running import Lab

NEEDS_SCTP = {"NP-SCTP-1", "NP-SCTP-2"}
"""Kernels that CI runs on lack SCTP; what would catch a fault there is `not-supported`."""
NODEIDS = {entry.requirement.id: entry.nodeid for entry in entries()}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_named_checks_catch_it(name: str, lab: Lab) -> None:
    fault = FAULTS[name]
    missing = set(fault.caught_by) - set(NODEIDS)
    assert not missing, f"{name} names checks that do not exist: {missing}"
    profile = "calico" if "calico" in fault.profiles else fault.profiles[0]
    checks = [NODEIDS[id] for id in fault.caught_by]
    families = f"--cni-lab-families={','.join(fault.families)}"
    record = lab.run(profile, *checks, families, faults=[name], expect=1)
    outcomes = {check["id"]: check["outcome"] for check in record["checks"]}
    assert outcomes == dict.fromkeys(fault.caught_by, "failed"), {
        check["id"]: check["message"] for check in record["checks"]
    }


def test_every_check_is_killed_by_a_fault() -> None:
    """Generated and random cases have tests of their own, test_case_faults and test_random; traits never fail."""
    killed = {id for fault in FAULTS.values() for id in fault.caught_by}
    traits = {entry.requirement.id for entry in entries() if entry.requirement.level is Level.TRAIT}
    elsewhere = {case.id for case in CASES} | {"NP-RANDOM"}
    assert set(NODEIDS) - killed - traits - NEEDS_SCTP == elsewhere
