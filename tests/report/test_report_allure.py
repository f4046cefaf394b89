# SPDX-License-Identifier: Apache-2.0
"""Allure: identity that survives moves and tells CNIs apart, through the real allure-pytest."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import sample

from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report import allure
from pytest_cniconformance.report.grid import matrix_text
from pytest_cniconformance.report.record import CniInfo
from pytest_cniconformance.report.view import EMULATED

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CHECKS = {check.id: check for check in sample.troubled_run().checks}


def test_identity_hangs_on_the_check_and_history_on_the_cni_too() -> None:
    check = CHECKS["NP-AND-1"]
    moved = dataclasses.replace(check, nodeid="elsewhere/test_other.py::test_renamed")
    calico, cilium, elsewhere = (
        allure.facts(check, "calico"),
        allure.facts(check, "cilium"),
        allure.facts(moved, "calico"),
    )
    assert (calico.test_case_id, calico.history_id) == (elsewhere.test_case_id, elsewhere.history_id)
    assert calico.test_case_id == cilium.test_case_id
    assert calico.history_id != cilium.history_id


def test_parameters_are_part_of_the_identity() -> None:
    check = CHECKS["NP-AND-1"]
    six = dataclasses.replace(check, nodeid=f"{check.nodeid}[ipv6]")
    assert allure.facts(six, "calico").full_name == "cniconformance:NP-AND-1[ipv6]"
    assert allure.facts(six, "calico").test_case_id != allure.facts(check, "calico").test_case_id
    case = dataclasses.replace(check, nodeid=f"{check.nodeid}[{check.id}]")
    assert allure.facts(case, "calico").full_name == "cniconformance:NP-AND-1"


def test_every_outcome_has_a_status_and_only_passing_ones_pass() -> None:
    statuses = {
        o: allure.facts(dataclasses.replace(CHECKS["NP-AND-1"], outcome=o), "x").status for o in Outcome
    }
    assert {o for o, status in statuses.items() if status == "passed"} == {Outcome.PASSED, Outcome.FLAKY}
    assert statuses[Outcome.ERROR] == "broken"
    # Allure's pass rate knows passed, failed and broken: what is not enforced must lower it.
    assert statuses[Outcome.NOT_ENFORCED] == statuses[Outcome.INCONCLUSIVE] == "broken"


def test_what_is_required_fails_in_allure_too() -> None:
    for outcome in (Outcome.NOT_ENFORCED, Outcome.NOT_SUPPORTED):
        check = dataclasses.replace(CHECKS["NP-AND-1"], outcome=outcome)
        facts = allure.facts(check, "x", required=True)
        assert facts.status == "failed"
        assert _categories_of(facts) == [str(outcome).replace("-", " ").capitalize()]
    assert allure.facts(CHECKS["NP-AND-1"], "x", required=True).status == "failed"


def _categories_of(facts: allure.AllureFacts) -> list[object]:
    return [
        category["name"]
        for category in allure.categories()
        if facts.status in category["matchedStatuses"]  # type: ignore[operator]
        and re.fullmatch(str(category["messageRegex"]), facts.message)
    ]


def test_categories_match_the_messages_of_their_outcome_alone() -> None:
    for outcome in Outcome:
        facts = allure.facts(dataclasses.replace(CHECKS["NP-AND-1"], outcome=outcome), "x")
        expected = outcome not in (Outcome.PASSED, Outcome.FLAKY, Outcome.SKIPPED)
        assert len(_categories_of(facts)) == expected, outcome


def test_run_files_say_environment_and_executor(tmp_path: Path) -> None:
    environ = {"GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b"}
    allure.write_run_files(tmp_path, sample.calico_run(), environ)
    properties = dict(
        line.split("=", 1) for line in (tmp_path / "environment.properties").read_text().splitlines()
    )
    assert properties["CNI"] == "calico v3.31.2"
    assert properties["Provider"] == EMULATED
    executor = json.loads((tmp_path / "executor.json").read_text())
    assert executor["buildUrl"] == "https://github.com/a/b/actions/runs/7"
    assert json.loads((tmp_path / "categories.json").read_text())


def test_runs_of_two_cnis_in_one_directory_are_both_named(tmp_path: Path) -> None:
    run = sample.calico_run()
    other = dataclasses.replace(run, cni=CniInfo(requested="cilium", version="1.18"))
    for record in (run, other, run):
        allure.write_run_files(tmp_path, record, {})
    properties = dict(
        line.split("=", 1) for line in (tmp_path / "environment.properties").read_text().splitlines()
    )
    assert properties["CNI"] == "calico v3.31.2 | cilium 1.18"
    assert properties["Provider"] == EMULATED
    executor = json.loads((tmp_path / "executor.json").read_text())
    assert executor["reportName"] == "CNI conformance of calico, cilium"


def test_a_matrix_as_text_marks_what_is_unexpected() -> None:
    text = matrix_text(CHECKS["NP-AND-1"].matrices[0])
    assert text.count(".!") == 6
    assert "80/UDP" in text


CONFTEST = """
import pytest
from pytest_cniconformance.report.allure import facts
from pytest_cniconformance.report.allure_adapter import AllureAdapter
from pytest_cniconformance.report.check import CheckRecord

RECORD = CheckRecord.from_json({record!r})

def pytest_configure(config):
    config.adapter = AllureAdapter()
    config.adapter.register()

def pytest_unconfigure(config):
    config.adapter.unregister()

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "teardown" and "check" in item.name:
        item.config.adapter.enrich(facts(RECORD, {cni!r}))
    return report
"""


def _results(pytester: pytest.Pytester, cni: str, folder: str) -> dict[str, Any]:
    pytester.makeconftest(CONFTEST.format(record=CHECKS["NP-AND-1"].to_json(), cni=cni))
    module = pytester.path / folder / "test_it.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text(
        "import pytest\n\n@pytest.mark.parametrize('short, long', [(4, 'x' * 99)])\n"
        "def test_check(short, long):\n    assert False, 'leak'\n\ndef test_other():\n    pass\n"
    )
    out = pytester.path / f"allure-{folder}-{cni}"
    pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--alluredir={out}", str(module)
    ).assert_outcomes(failed=1, passed=1)
    found = [json.loads(path.read_text("utf-8")) for path in out.glob("*-result.json")]
    for result in found:
        result["files"] = {
            a["name"]: (out / a["source"]).read_text("utf-8") for a in result.get("attachments", [])
        }
    return {"check" if "NP-AND-1" in result["name"] else "other": result for result in found}


def test_real_results_carry_stable_ids_and_evidence(pytester: pytest.Pytester) -> None:
    here, there = _results(pytester, "calico", "one"), _results(pytester, "calico", "two")
    cilium = _results(pytester, "cilium", "one")
    check = here["check"]
    assert check["fullName"] == "cniconformance:NP-AND-1"
    assert check["historyId"] == there["check"]["historyId"] != cilium["check"]["historyId"]
    assert check["testCaseId"] == there["check"]["testCaseId"] == cilium["check"]["testCaseId"]
    assert check["status"] == "failed"
    assert check["statusDetails"]["message"].startswith("failed: 2 of 243 cells leak")
    assert check["statusDetails"]["trace"].startswith("x/b → y/a:80/TCP expected denied")
    assert "assert False" not in check["statusDetails"]["trace"]
    assert check["parameters"] == [{"name": "short", "value": "4"}, {"name": "cni", "value": "calico"}]
    assert check.get("titlePath", ["calico", "netpol", "peers"]) == ["calico", "netpol", "peers"]
    labels = {(label["name"], label["value"]) for label in check["labels"]}
    assert {("feature", "NetworkPolicy"), ("severity", "critical"), ("suite", "netpol")} <= labels
    assert check["links"][0]["url"].startswith("https://kubernetes.io/")
    assert "x/b" in check["files"]["mismatches"]
    assert "namespaceSelector" in check["files"]["manifest 1"]
    assert here["other"]["name"] == "test_other"
    assert "cniconformance" not in json.dumps({k: v for k, v in here["other"].items() if k != "files"})
