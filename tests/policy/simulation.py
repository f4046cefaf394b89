# SPDX-License-Identifier: Apache-2.0
"""A dataplane in memory: the reference semantics of policies that a fault has changed on their way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_cniconformance.model.matrix import Cell, Decision, Mismatch
from pytest_cniconformance.model.verdict import Observation, Protocol, Verdict
from pytest_cniconformance.policy import ClusterState, expected_matrix
from pytest_cniconformance.policy.randomcase import POOL, PORT_NAMES, Addresses, Case, Stage

Fault = Callable[[dict[str, Any]], dict[str, Any]]

ADDRESSES = Addresses(
    ("ipv4",),
    {pod: {"ipv4": f"10.244.{i % 3}.{i + 2}"} for i, pod in enumerate(POOL)},
    {"ipv4": "172.30.0.1"},
)


def objects(stage: Stage) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in stage.namespaces.items()
    ]
    for key, labels in stage.pods.items():
        namespace, _, name = key.partition("/")
        ports = [
            {"name": text, "containerPort": port, "protocol": protocol}
            for text, (port, protocol) in PORT_NAMES[key].items()
        ]
        made.append(
            {
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": ports}]},
                "status": {"podIPs": [{"ip": ADDRESSES.pods[key]["ipv4"]}]},
            }
        )
    return made


def cells(case: Case) -> list[Cell]:
    ports = [
        (80, Protocol.TCP),
        (81, Protocol.TCP),
        (8080, Protocol.TCP),
        (80, Protocol.UDP),
        (81, Protocol.UDP),
    ]
    return [Cell(s, d, *port) for s in case.pods for d in case.pods for port in ports]


def mismatches(case: Case, fault: Fault) -> list[Mismatch]:
    """Return the cells of the first stage on which the faulty dataplane contradicts the API."""
    for stage in case.stages:
        state = ClusterState.from_objects(objects(stage))
        policies = [ADDRESSES.resolve(policy) for policy in stage.policies]
        expected = expected_matrix(state.with_policies(policies), cells(case))
        real = expected_matrix(state.with_policies([fault(policy) for policy in policies]), cells(case))
        wrong = [
            Mismatch(
                cell,
                expected[cell],
                Observation(Verdict.OPEN if real[cell].decision is Decision.ALLOW else Verdict.DROPPED),
            )
            for cell in expected
            if {expected[cell].decision, real[cell].decision} == {Decision.ALLOW, Decision.DENY}
        ]
        if wrong:
            return wrong
    return []


def changed(value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    if isinstance(value, Mapping):
        return {key: changed(child, change) for key, child in change(value).items()}
    return [changed(item, change) for item in value] if isinstance(value, list | tuple) else value


def without(key: str) -> Fault:
    return lambda policy: changed(policy, lambda found: {k: v for k, v in found.items() if k != key})


def only_first_port(policy: dict[str, Any]) -> dict[str, Any]:
    def first(found: Mapping[str, Any]) -> Mapping[str, Any]:
        ports = found.get("ports")
        return {**found, "ports": ports[:1]} if isinstance(ports, list) else found

    result: dict[str, Any] = changed(policy, first)
    return result


def and_as_or(policy: dict[str, Any]) -> dict[str, Any]:
    def split(found: Mapping[str, Any]) -> Mapping[str, Any]:
        made = dict(found)
        for side in ("from", "to"):
            if made.get(side):
                made[side] = [{key: peer[key]} for peer in made[side] for key in peer]
        return made

    result: dict[str, Any] = changed(policy, split)
    return result


def no_egress(policy: dict[str, Any]) -> dict[str, Any]:
    spec = {key: value for key, value in policy["spec"].items() if key != "egress"}
    return {**policy, "spec": {**spec, "policyTypes": ["Ingress"]}}


FAULTS: dict[str, Fault] = {
    "endPort ignored": without("endPort"),
    "expressions ignored": without("matchExpressions"),
    "ports ignored": without("ports"),
    "only the first port": only_first_port,
    "AND read as OR": and_as_or,
    "egress not enforced": no_egress,
}
