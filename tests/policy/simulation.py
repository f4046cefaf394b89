# SPDX-License-Identifier: Apache-2.0
"""A dataplane in memory: the reference semantics of policies that a fault has changed on their way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any

from pytest_cniconformance.model.matrix import Cell, Decision, Mismatch
from pytest_cniconformance.model.verdict import Observation, Protocol, Verdict
from pytest_cniconformance.policy import ClusterState, expected_matrix
from pytest_cniconformance.policy.randomcases.anchors import Addresses
from pytest_cniconformance.policy.randomcases.case import Case, Stage
from pytest_cniconformance.policy.randomcases.pool import POOL, PORT_NAMES, SIDECAR_PORTS, container_ports

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
        made.append(
            {
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {
                    "nodeName": "n",
                    "containers": [{"name": "c", "ports": container_ports(PORT_NAMES[key])}],
                    "initContainers": [
                        {
                            "name": "s",
                            "restartPolicy": "Always",
                            "ports": container_ports(SIDECAR_PORTS[key]),
                        }
                    ],
                },
                "status": {"podIPs": [{"ip": ADDRESSES.pods[key]["ipv4"]}]},
            }
        )
    return made


def cells(case: Case) -> list[Cell]:
    ports = [
        (80, Protocol.TCP),
        (81, Protocol.TCP),
        (8080, Protocol.TCP),
        (53, Protocol.UDP),
        (80, Protocol.UDP),
    ]
    found = [Cell(s, d, *port) for s in case.pods for d in case.pods for port in ports]
    address = ADDRESSES.outside["ipv4"]
    return found + [Cell(s, address, ADDRESSES.outside_port) for s in case.pods if case.outside]


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


def blocks(change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Fault:
    """Return a fault that changes every ipBlock."""
    return lambda policy: changed(
        policy,
        lambda found: {**found, "ipBlock": change(dict(found["ipBlock"]))} if "ipBlock" in found else found,
    )


NOTHING = {"cidr": "192.0.2.77/32"}


def first_value(policy: dict[str, Any]) -> dict[str, Any]:
    def first(found: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**found, "values": found["values"][:1]} if found.get("operator") == "In" else found

    result: dict[str, Any] = changed(policy, first)
    return result


def only_first_range(policy: dict[str, Any]) -> dict[str, Any]:
    def first(found: Mapping[str, Any]) -> Mapping[str, Any]:
        ports = found.get("ports")
        ranges = [port for port in ports or () if "endPort" in port]
        return {**found, "ports": [p for p in ports if p not in ranges[1:]]} if ranges and ports else found

    result: dict[str, Any] = changed(policy, first)
    return result


def excepts_merged(policy: dict[str, Any]) -> dict[str, Any]:
    cuts: list[str] = []
    blocks(lambda block: cuts.extend(block.get("except", ())) or block)(policy)

    def merged(block: dict[str, Any]) -> dict[str, Any]:
        whole = ip_network(block["cidr"])
        inside = [cut for cut in cuts if cut != block["cidr"] and ip_network(cut).subnet_of(whole)]  # type: ignore[arg-type]
        return {**block, "except": inside} if inside else block

    return blocks(merged)(policy)


def later_ports(policy: dict[str, Any]) -> dict[str, Any]:
    spec = dict(policy["spec"])
    for section, side in (("ingress", "from"), ("egress", "to")):
        last: dict[str, Any] = {}
        for found in spec.get(section) or ():
            last |= {str(p["ipBlock"]): found.get("ports") for p in found.get(side) or () if "ipBlock" in p}
        made = []
        for found in spec.get(section) or ():
            for peer in found.get(side) or ():
                ports = last[str(peer["ipBlock"])] if "ipBlock" in peer else found.get("ports")
                made.append({side: [peer], **({} if ports is None else {"ports": ports})})
            if not found.get(side):
                made.append(found)
        if spec.get(section) is not None:
            spec[section] = made
    return {**policy, "spec": spec}


FAULTS: dict[str, Fault] = {
    "endPort ignored": without("endPort"),
    "expressions ignored": without("matchExpressions"),
    "ports ignored": without("ports"),
    "only the first port": only_first_port,
    "AND read as OR": and_as_or,
    "egress not enforced": no_egress,
    "In has one value": first_value,
    "only the first range": only_first_range,
    "ipBlock matches nothing": blocks(lambda block: NOTHING),
    "length 0 matches nothing": blocks(lambda block: NOTHING if block["cidr"].endswith("/0") else block),
    "only the first exception": blocks(lambda block: {**block, "except": block.get("except", [])[:1]}),
    "exceptions merged": excepts_merged,
    "ports of a block overwritten": later_ports,
}
