# SPDX-License-Identifier: Apache-2.0
"""Random policies on the lab: no disagreement without a fault, and the smallest one with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pytest_cniconformance.policy import invalid
from tests.e2e.running import Lab

CHECK = "test_netpol_random.py"


def test_no_case_disagrees(lab: Lab) -> None:
    record = lab.run("calico", CHECK, "--cni-random=51", "-n2", scale="1")
    assert [check["outcome"] for check in record["checks"]] == ["passed", "passed"]
    assert "random policies: 51 cases compared" in lab.output
    seeds = re.findall(r"the same again: --cni-random=51 --cni-seed=(\d+)", lab.output)
    details = [check["details"] for check in record["checks"]]
    assert re.findall(r", seed (\d+): ", "".join(details)) == seeds * 2, "workers drew from another seed"


def test_services_that_do_not_work_are_left_out_and_named(lab: Lab) -> None:
    options = ("--cni-random=4", "--cni-seed=3")
    record = lab.run("calico", CHECK, *options, faults=["service-rules-missing"], scale="0.2")
    [check] = record["checks"]
    assert check["outcome"] == "passed"
    assert "no case asks through Services, which do not work: " in check["details"]


@pytest.mark.parametrize("fault", ["and-as-or", "stale-after-delete"])
def test_a_fault_comes_down_to_what_shows_it(fault: str, lab: Lab) -> None:
    record = lab.run("calico", CHECK, "--cni-random=300", "--cni-seed=1", "-n2", faults=[fault], expect=1)
    [check] = [check for check in record["checks"] if check["outcome"] == "failed"]
    assert "Traceback" not in lab.output and "hypothesis" not in check["message"].lower()
    assert re.match(r"(1 policy|2 policies) and (1 pod|[23] pods) suffice", check["message"]), check[
        "message"
    ]
    assert check["mismatches"][0]["because"]
    written = (lab.directory / "report" / "random-1.yaml").read_text("utf-8")
    assert written in lab.output.replace("\n\nTo see it", "\nTo see it")
    objs: list[dict[str, Any]] = list(yaml.safe_load_all(written))
    assert sum(obj["kind"] == "Pod" for obj in objs) <= 3
    policies = [obj for obj in objs if obj["kind"] == "NetworkPolicy"]
    assert 1 <= len(policies) <= 2 and not any(map(invalid, policies))
    assert any(f"kubectl apply -f report{'/'}random-1.yaml" in command for command in check["reproduce"])
    assert any("--cni-random=300 --cni-seed=1" in command for command in check["reproduce"])
