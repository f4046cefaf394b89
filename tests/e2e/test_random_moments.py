# SPDX-License-Identifier: Apache-2.0
"""What random cases have in them beside policies, each under a fault that only it shows.

The cases lie in the example database, which a run asks first, so that no draw decides what is tested here.
"""

from __future__ import annotations

import re

import pytest
from hypothesis.database import DirectoryBasedExampleDatabase

from pytest_cniconformance.policy.builders import network_policy, peer, port, rule
from pytest_cniconformance.policy.randomcases.case import Case, Stage
from tests.e2e.running import Lab

CHECK = "test_netpol_random.py"
LABELS = {"x/a": {"app": "a"}, "x/b": {"app": "b"}}


def stage(*policies: dict[str, object]) -> Stage:
    return Stage({"x": {}}, LABELS, policies)


CLOSED = network_policy("p0", "x", {"app": "b"}, ingress=[], types=["Ingress"])
OPENED = network_policy("p0", "x", {"app": "b"}, ingress=[rule([peer({})])], types=["Ingress"])
FRIENDS = network_policy("p0", "x", {"app": "a"}, ingress=[rule([peer({"app": "c"})])])
OTHER = network_policy("p1", "x", {"app": "b"}, types=["Egress"], egress=[rule()])

REPLACED = Case((stage(CLOSED),), replaced="x/b")
INHERITING = Case((stage(FRIENDS),), replaced="x/b", inherited={"app": "c"})
UPDATED = Case((stage(OPENED), stage(CLOSED)), watched=True)
EXTENDED = Case((stage(CLOSED), stage(CLOSED, OTHER)), watched=True)
FROM_NODES = Case((stage(CLOSED),), nodes=True)
REFUSED = Case(
    (stage(),), refused=network_policy("refused", "x", {}, ingress=[rule(ports=[port(80, end=79)])])
)

LEAVING, RENEWED, UPDATE = (
    "while x/b is being deleted",
    "once x/b has been created again",
    "while one is updated",
)
SHOWN = {
    "terminating-forgotten": (REPLACED, LEAVING),
    "startup-leak": (REPLACED, RENEWED),
    "late-pods-unknown": (REPLACED, RENEWED),
    "finished-pods-remembered": (INHERITING, RENEWED),
    "reload-fails-open": (EXTENDED, UPDATE),
    "node-blocked": (FROM_NODES, "1 policy and 1 pod suffice"),
    "policies-unvalidated": (REFUSED, "1 policy suffices, which the API server has to refuse"),
}


def known(lab: Lab, *cases: Case) -> None:
    database = DirectoryBasedExampleDatabase(lab.directory / "report" / "random-examples")
    for case in cases:
        database.save(b"calico", case.key.encode())


def test_none_of_them_disagrees_without_a_fault(lab: Lab) -> None:
    cases = {case.key: case for case in (UPDATED, *(case for case, _ in SHOWN.values()))}
    known(lab, *cases.values())
    record = lab.run("calico", CHECK, "--cni-random=1", scale="1")
    assert [check["outcome"] for check in record["checks"]] == ["passed"]
    assert f"random policies: {len(cases) + 1} cases compared" in lab.output
    assert "no case asks" not in lab.output and "no pod gets" not in lab.output


@pytest.mark.parametrize("fault", SHOWN)
def test_each_shows_its_fault(fault: str, lab: Lab) -> None:
    case, said = SHOWN[fault]
    known(lab, case)
    # Each question about a pod that is created again takes seconds: some of them do.
    options = ["--cni-random=1", "--cni-random-shrink-time=15"]
    record = lab.run("calico", CHECK, *options, faults=[fault], expect=1)
    [check] = record["checks"]
    assert check["outcome"] == "failed" and said in check["message"].splitlines()[0], check["message"]
    assert re.search(
        r"\(a case of an earlier run, from the example database; shrunk in \d+ steps", check["message"]
    )
    assert check["reproduce"] and check["manifests"]
