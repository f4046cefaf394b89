# SPDX-License-Identifier: Apache-2.0
"""Every fault of the registry is caught by the checks that it names: a check that cannot fail is worthless."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_cniconformance.cli.catalogue import entries
from pytest_cniconformance.lab.faults import FAULTS
from pytest_cniconformance.model.requirement import Level
from pytest_cniconformance.policy.cases import CASES
from tests.e2e.ahead import Ahead
from tests.e2e.running import Lab

NEEDS_SCTP = {"NP-SCTP-1", "NP-SCTP-2"}
"""Kernels that CI runs on lack SCTP; what would catch a fault there is `not-supported`."""
EVERY = int(os.environ.get("CNI_EVERY_NTH_FAULT", "5"))
"""A run takes seconds of two processors; all of them (``make faults``, 1) take longer than people wait for a gate."""
NODEIDS = {entry.requirement.id: entry.nodeid for entry in entries()}


def run_with(name: str, directory: Path) -> dict[str, Any]:
    """Run the checks that a fault names on a lab that has it; return their outcomes and messages."""
    fault = FAULTS[name]
    profile = "calico" if "calico" in fault.profiles else fault.profiles[0]
    checks = [NODEIDS[id] for id in fault.caught_by]
    families = f"--cni-lab-families={','.join(fault.families)}"
    record = Lab(directory).run(profile, *checks, families, faults=[name], expect=1)
    return {
        field: {check["id"]: check[field] for check in record["checks"]} for field in ("outcome", "message")
    }


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ahead]:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    chosen = [i.callspec.params["name"] for i in request.session.items if i.name.startswith(f"{CATCHES}[")]  # type: ignore[attr-defined]
    ahead = Ahead(shared / "fault-runs", chosen, run_with)
    yield ahead
    ahead.close()


@pytest.mark.parametrize("name", sorted(FAULTS)[::EVERY])
def test_the_named_checks_catch_it(name: str, lab: Lab, runs: Ahead) -> None:
    missing = set(FAULTS[name].caught_by) - set(NODEIDS)
    assert not missing, f"{name} names checks that do not exist: {missing}"
    found = runs.result(name)
    assert "error" not in found, found["error"]
    assert found["outcome"] == dict.fromkeys(FAULTS[name].caught_by, "failed"), found["message"]


CATCHES = test_the_named_checks_catch_it.__name__


def test_every_check_is_killed_by_a_fault() -> None:
    """Generated and random cases have tests of their own, test_case_faults and test_random; traits never fail."""
    killed = {id for fault in FAULTS.values() for id in fault.caught_by}
    traits = {entry.requirement.id for entry in entries() if entry.requirement.level is Level.TRAIT}
    elsewhere = {case.id for case in CASES} | {"NP-RANDOM"}
    assert set(NODEIDS) - killed - traits - NEEDS_SCTP == elsewhere
