# SPDX-License-Identifier: Apache-2.0
"""What a reader gets of a disagreement can be applied as it stands."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import yaml

from pytest_cniconformance.fixtures.randomized.cast import node_of
from pytest_cniconformance.fixtures.randomized.comparison import Comparison
from pytest_cniconformance.fixtures.randomized.reproduction import reproduction
from pytest_cniconformance.fixtures.topology import PlacedPod
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation, Mismatch
from pytest_cniconformance.model.verdict import Observation, Protocol, Verdict
from pytest_cniconformance.policy import ClusterState, decide, invalid
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule
from pytest_cniconformance.policy.randomcases.anchors import ANY, block
from pytest_cniconformance.policy.randomcases.case import Case, Moment, Stage
from pytest_cniconformance.policy.randomcases.pool import (
    CROWD,
    POOL,
    SERVICE_PORT,
    SIDECAR_PORTS,
    service_before,
)
from pytest_cniconformance.probe.workload import on_node
from tests.policy.simulation import ADDRESSES

PODS = {
    key: PlacedPod(key, f"real-{key[0]}", key[2:], f"n{i % 2}", ADDRESSES.pods[key], {})
    for i, key in enumerate(POOL)
}
DENY = network_policy("p0", "y", {}, types=["Ingress"])
CUT = network_policy(
    "p1", "y", {"app": "a"}, ingress=[rule([peer(cidr=block(ANY, 0), except_=[block("x/a", 24)])])]
)
LABELS = {"x/a": {}, "y/a": {"app": "a"}}
FIRST = Stage({"x": {}, "y": {"tier": "b"}}, LABELS, (DENY, CUT))
SECOND = Stage({"x": {}, "y": {}}, LABELS, (CUT,))


def reproduced(
    case: Case, stage: int, cell: Cell, directory: Path, moment: Moment = Moment.STAGE, *, leak: bool = False
) -> tuple[list[list[dict]], list[str]]:
    decisions = (Decision.DENY, Verdict.OPEN) if leak else (Decision.ALLOW, Verdict.DROPPED)
    wrong = Mismatch(cell, Expectation(decisions[0]), Observation(decisions[1]))
    shown = reproduction(
        case,
        Comparison(1, 0, 0.1, moment, stage, (wrong,)),
        pods=PODS,
        addresses=ADDRESSES,
        annotation="example.org/ips",
        image="python:3",
        directory=directory,
    )
    shown.write(directory)
    documents = [
        list(yaml.safe_load_all(path.read_text("utf-8"))) for path in sorted(directory.glob("*.yaml"))
    ]
    return documents, list(shown.commands)


def test_one_stage(tmp_path: Path) -> None:
    [objs], commands = reproduced(Case((FIRST,)), 0, Cell("x/a", "y/a", 80), tmp_path)
    assert [obj["kind"] for obj in objs] == ["Namespace"] * 2 + ["Pod"] * 2 + ["NetworkPolicy"] * 2
    assert not any(invalid(obj) for obj in objs if obj["kind"] == "NetworkPolicy")
    assert len(ClusterState.from_objects(objs).policies) == 2
    assert objs[-1]["spec"]["ingress"][0]["from"][0]["ipBlock"] == {
        "cidr": "0.0.0.0/0",
        "except": ["10.244.0.0/24"],
    }
    assert objs[2]["spec"]["affinity"] == on_node("n0")
    ast.parse(objs[2]["spec"]["containers"][0]["command"][2])
    assert commands[0] == f"kubectl apply -f {tmp_path}/random-1.yaml"
    assert "10.244.0.2" in (tmp_path / "random-1.yaml").read_text("utf-8").splitlines()[0]
    words = shlex.split(commands[-1])
    assert words[:6] == ["kubectl", "-n", "x", "exec", "a", "--"]
    ast.parse(words[8])
    assert "get pod a" in words[9]


def test_an_update(tmp_path: Path) -> None:
    documents, commands = reproduced(Case((FIRST, SECOND)), 1, Cell("x/a", "y/a", 80, Protocol.UDP), tmp_path)
    assert len(documents) == 2
    assert f"kubectl apply -f {tmp_path}/random-2.yaml" in commands
    assert "kubectl -n y delete networkpolicy p0" in commands
    assert "SOCK_DGRAM" in commands[-1]


def test_an_update_at_once(tmp_path: Path) -> None:
    _, commands = reproduced(Case((FIRST, SECOND), hurried=True), 1, Cell("x/a", "y/a", 80), tmp_path)
    apply = f"kubectl apply -f {tmp_path}/random-"
    gone = [f"kubectl -n y delete networkpolicy {name}" for name in ("p0", "p1")]
    assert commands[0] == f"{apply}1.yaml"
    assert commands[3:-1] == [*gone, f"{apply}1.yaml && {apply}2.yaml", gone[0]]


def test_what_deleted_policies_leave_behind(tmp_path: Path) -> None:
    cell = Cell("x/a", "203.0.113.9", 443)
    documents, commands = reproduced(Case((SECOND,), crowded=True), 0, cell, tmp_path, Moment.AFTER)
    assert len(documents) == 1
    assert commands[-4:-1] == [
        "kubectl -n y delete networkpolicy p1",
        *(f"kubectl -n {name} delete networkpolicy --all" for name in "xy"),
    ]
    assert commands[-1].endswith('"203.0.113.9"')


def test_services_a_crowd_and_sidecars_come_with_it(tmp_path: Path) -> None:
    only = network_policy("p0", "y", {}, ingress=[rule(ports=[port("metrics")])])
    stage = Stage({"x": {}, "y": {}}, LABELS, (only,))
    case = Case((stage,), services=True, crowded=True)
    [objs], commands = reproduced(case, 0, Cell("x/a", service_before("y/a"), SERVICE_PORT), tmp_path)
    state = ClusterState.from_objects(objs)
    assert len(state.policies) == 2 * CROWD + 1 and objs[-1] == only
    assert not any(policy.sure | policy.maybe for policy in state.policies[:-1]), "the crowd selects somebody"
    kinds = [obj["kind"] for obj in objs]
    assert kinds.index("NetworkPolicy") > kinds.index("Service") > kinds.index("Pod")
    # What the manifests say must be what the random case asked: the Service leads to the pod before which it stands.
    ruling = decide(state, "x/a", "y/svc:a", SERVICE_PORT)
    assert ruling.decision is Decision.DENY and "y/p0" in str(ruling.because)
    number, _ = SIDECAR_PORTS["y/a"]["metrics"]
    assert decide(state, "x/a", "y/a", number).decision is Decision.ALLOW
    assert "kubectl -n y get service a -o jsonpath='{.spec.clusterIPs[0]}'" in commands[-1]


def test_a_pod_on_its_way_out(tmp_path: Path) -> None:
    case = Case((SECOND,), replaced="y/a")
    documents, commands = reproduced(case, 0, Cell("x/a", "y/a", 80), tmp_path, Moment.LEAVING)
    assert len(documents) == 1
    assert commands[-2] == "kubectl -n y delete pod a --grace-period=60 --wait=false"


def test_a_pod_that_comes_again(tmp_path: Path) -> None:
    case = Case((SECOND,), replaced="y/a", inherited={"app": "b"})
    cell = Cell("x/a", "y/a", 80)
    documents, commands = reproduced(case, 0, cell, tmp_path, Moment.RENEWED, leak=True)
    (before,), (ancestor,), again = (
        [
            obj
            for obj in objs
            if obj["metadata"]["name"].startswith("a") and obj["metadata"]["namespace"] == "y"
        ]
        for objs in documents
    )
    (again,) = again if isinstance(again, tuple) else (again[0],)
    asked = {"example.org/ips": f'["{PODS["y/a"].addresses["ipv4"]}"]'}
    assert "annotations" not in before["metadata"]
    assert ancestor["metadata"]["labels"] == {"app": "b"} and ancestor["spec"]["restartPolicy"] == "Never"
    assert ancestor["metadata"]["annotations"] == again["metadata"]["annotations"] == asked
    kinds = [word for command in commands for word in command.split()[3:4]]
    assert kinds[-5:] == [f"{tmp_path}/random-2.yaml", "wait", f"{tmp_path}/random-3.yaml", "wait", "exec"]
    ast.parse(shlex.split(commands[-1])[8])
    assert "while time.time()" in commands[-1]


def test_an_update_that_leaks_on_the_way(tmp_path: Path) -> None:
    case = Case((FIRST, SECOND), watched=True)
    documents, commands = reproduced(case, 1, Cell("x/a", "y/a", 80), tmp_path, Moment.UPDATE, leak=True)
    assert len(documents) == 2
    assert (
        f"kubectl apply -f {tmp_path}/random-2.yaml && kubectl -n y delete networkpolicy p0; wait"
        in commands[-1]
    )
    assert commands[-1].index("& sleep 2;") < commands[-1].index("random-2.yaml")


def test_a_node_has_a_pod_that_stands_for_it(tmp_path: Path) -> None:
    case = Case((SECOND,), nodes=True)
    [objs], commands = reproduced(case, 0, Cell(node_of("y/a"), "y/a", 80), tmp_path)
    (node,) = (obj for obj in objs if obj.get("spec", {}).get("hostNetwork"))
    assert node["spec"]["affinity"] == on_node(PODS["y/a"].node)
    assert commands[-1].startswith("kubectl -n nodes exec node -- python3")


def test_a_policy_that_should_have_been_refused(tmp_path: Path) -> None:
    bad = network_policy("refused", "y", {}, ingress=[rule(ports=[port(80, end=79)])])
    shown = reproduction(
        Case((SECOND,), refused=bad),
        Comparison(0, 0, 0.0, Moment.REFUSAL, accepted="endPort"),
        pods=PODS,
        addresses=ADDRESSES,
        annotation="",
        image="python:3",
        directory=tmp_path,
    )
    namespace, policy = yaml.safe_load_all(shown.manifests[0])
    assert namespace["metadata"]["name"] == "y" and invalid(policy)
    assert shown.commands[0] == f"kubectl apply -f {tmp_path}/random-1.yaml"


def test_a_leak_over_udp_is_asked_over_udp(tmp_path: Path) -> None:
    cell = Cell("x/a", "y/a", 80, Protocol.UDP)
    _, commands = reproduced(Case((SECOND,), replaced="y/a"), 0, cell, tmp_path, Moment.RENEWED, leak=True)
    assert "SOCK_DGRAM" in commands[-1]
