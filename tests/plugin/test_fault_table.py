# SPDX-License-Identifier: Apache-2.0
"""``cniconformance lab faults`` prints which checks must catch which fault, and the reverse."""

from __future__ import annotations

import json

import pytest

from pytest_cniconformance.cli import main
from pytest_cniconformance.lab.faults import FAULTS


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["lab", "faults", *arguments]) == 0
    return capsys.readouterr().out


def test_every_fault_is_there_with_what_it_mimics_and_what_catches_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys)
    assert all(name in text and fault.mimics in text for name, fault in FAULTS.items())
    assert f"{len(FAULTS)} faults" in text
    rows = {row["name"]: row for row in json.loads(printed(capsys, "--json"))}
    assert rows.keys() == FAULTS.keys()
    assert rows["except-as-deny"]["caught_by"] == list(FAULTS["except-as-deny"].caught_by)


def test_the_reverse_tells_the_faults_of_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads(printed(capsys, "--checks", "--json"))
    assert {name for names in table.values() for name in names} == FAULTS.keys()
    assert "policies-ignored" in table["NP-EMP-4"]
    assert "NP-EMP-4" in printed(capsys, "--checks")


def test_one_area_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    names = {row["name"] for row in json.loads(printed(capsys, "--area", "policy", "--json"))}
    assert names == {name for name, fault in FAULTS.items() if fault.area == "policy"}
    assert main(["lab", "faults", "--area", "weather"]) == 2
    assert "the areas are" in capsys.readouterr().err
