# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end: every profile of the lab, with and without xdist, and the reports that it leaves."""

from __future__ import annotations

import collections
import json
from importlib import resources

import jsonschema

from pytest_cniconformance.cli.catalogue import entries
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.cases import CASES
from tests.e2e.running import WITHOUT_CASES, Lab

CATALOGUE = {entry.requirement.id for entry in entries()} - {"NP-RANDOM"}
GROUPS = {entry.suite for entry in entries()}
NEED_SCTP = {case.id for case in CASES if Protocol.SCTP in case.needs}


def outcomes(record: dict) -> dict[str, str]:
    return {check["id"]: check["outcome"] for check in record["checks"]}


def may_be_skipped(id: str) -> bool:
    """Whether a check needs what these runs do not have: SCTP in the kernel, two families, pods that choose addresses."""
    return id in NEED_SCTP or id.startswith(("NP-SCTP-", "NP-DS-")) or id in ("NP-IPB-7", "NP-DYN-8")


def unexpected(record: dict, allowed: dict[str, str]) -> dict[str, str]:
    """Return the checks that did not pass, but for those that may be skipped and those in ``allowed``."""
    return {
        check["id"]: f"{check['outcome']}: {check['message']}"
        for check in record["checks"]
        if check["outcome"] != "passed"
        and not (check["outcome"] == "skipped" and may_be_skipped(check["id"]))
        and allowed.get(check["id"]) != check["outcome"]
    }


def test_what_calico_claims_passes(lab: Lab) -> None:
    record = lab.run("calico", "-n", "4", scale="1")
    assert set(outcomes(record)) == CATALOGUE
    assert {check["suite"] for check in record["checks"]} == GROUPS
    without = {id: "not-supported" for id in CATALOGUE if id.startswith("L7-")}
    assert unexpected(record, without) == {}
    assert record["headline"]["verdict"] == "conformant"
    assert record["cluster"]["emulated"] is True


def test_what_cilium_claims_passes(lab: Lab) -> None:
    record = lab.run("cilium", WITHOUT_CASES, "-n", "4", scale="1")
    known = dict.fromkeys(("NP-DEF-2", "NP-PRT-5"), "known-deviation")
    assert unexpected(record, known) == {}
    assert {id: outcomes(record)[id] for id in known} == known
    assert record["headline"]["verdict"] == "conformant-in-part"
    assert "checks were not selected" in record["headline"]["text"]


def test_flannel_accepts_policies_and_enforces_none(lab: Lab) -> None:
    record = lab.run("flannel", WITHOUT_CASES, "-n", "2", scale="1")
    found = outcomes(record)
    headline = record["headline"]["text"]
    assert record["headline"]["verdict"] == "not-enforced"
    assert "NetworkPolicy is accepted but NOT ENFORCED" in headline
    ignored = {id for id, outcome in found.items() if outcome == "not-enforced"}
    assert {"NP-EMP-4", "NP-DEF-3", "NP-AND-1"} <= ignored
    assert all(id.startswith(("NP-", "DNS-POLICY-")) for id in ignored)
    assert any(id in headline for id in ignored)
    assert not {"failed", "error", "inconclusive"} & set(found.values())


def test_a_requirement_turns_not_enforced_into_a_failure(lab: Lab) -> None:
    record = lab.run("flannel", "test_netpol_isolation.py", "--cni-require=networkpolicy", "-x", expect=1)
    assert "not-enforced" in outcomes(record).values()
    assert "not-enforced (--cni-require)" in lab.output


def test_workers_give_the_same_outcomes(lab: Lab) -> None:
    some = ("-m", "connectivity or services or loadbalancer or l7")
    alone = outcomes(lab.run("cilium", *some, scale="1"))
    together = lab.run("cilium", *some, "-n", "4", scale="1")
    assert outcomes(together) == alone
    assert len({check["worker"] for check in together["checks"]}) > 1


def test_reports_follow_the_schema_and_each_other(lab: Lab) -> None:
    record = lab.run("calico", "test_dns_answers.py", "--junitxml=junit.xml", "--alluredir=allure")
    schema = json.loads(
        (resources.files("pytest_cniconformance.report") / "report.schema.json").read_text("utf-8")
    )
    jsonschema.validate(record, schema)
    html = (lab.directory / "report" / "report.html").read_text("utf-8")
    assert "Content-Security-Policy" in html and "DNS-NXDOMAIN" in html
    assert "DNS" in (lab.directory / "report" / "report.md").read_text("utf-8")
    assert "DNS-NXDOMAIN" in (lab.directory / "junit.xml").read_text("utf-8")
    results = [
        json.loads(path.read_text("utf-8")) for path in (lab.directory / "allure").glob("*-result.json")
    ]
    assert collections.Counter(result["fullName"] for result in results)["cniconformance:DNS-NXDOMAIN"] == 1
    assert (lab.directory / "allure" / "environment.properties").is_file()
    secrets = [line for line in html.splitlines() if "token" in line.lower()]
    assert not secrets


def test_selection_is_natural(lab: Lab) -> None:
    record = lab.run("calico", "-m", "dns", "-k", "not_exist_is_nxdomain")
    assert outcomes(record) == {"DNS-NXDOMAIN": "passed"}
    assert record["headline"]["verdict"] == "conformant-in-part"
