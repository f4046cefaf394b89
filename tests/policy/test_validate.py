# SPDX-License-Identifier: Apache-2.0
"""Invalid policies are named with the API server's own reasons (NP-VAL-1, NP-EMP-7, NP-EMP-8)."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy import ClusterState, InvalidPolicy, invalid
from pytest_cniconformance.policy.builders import expression, matching, network_policy, peer, port, rule

PORT, FROM = "spec.ingress[0].ports[0]", "spec.ingress[0].from[0]"


def with_port(**entry: Any) -> dict[str, Any]:
    return network_policy("p", "x", ingress=[rule(ports=[entry])])


def with_peer(made: dict[str, Any]) -> dict[str, Any]:
    return network_policy("p", "x", ingress=[rule([made])])


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (
            with_port(port=80, endPort=79),
            f"{PORT}.endPort: Invalid value: 79: must be greater than or equal to `port`",
        ),
        (
            with_port(endPort=79),
            f"{PORT}.endPort: Invalid value: 79: may not be specified when `port` is not specified",
        ),
        (
            with_port(port="web", endPort=79),
            f"{PORT}.endPort: Invalid value: 79: may not be specified when `port` is non-numeric",
        ),
        (
            with_port(port=80, endPort=65536),
            f"{PORT}.endPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
        ),
        (with_port(port=0), f"{PORT}.port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        (with_port(port="a--b"), f'{PORT}.port: Invalid value: "a--b": must not contain consecutive hyphens'),
        (with_port(port="80"), f'{PORT}.port: Invalid value: "80": must contain at least one letter (a-z)'),
        (
            with_port(protocol="ICMP"),
            f'{PORT}.protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"',
        ),
        (with_peer({}), f"{FROM}: Required value: must specify a peer"),
        (with_peer({"podSelector": None}), f"{FROM}: Required value: must specify a peer"),
        (
            with_peer(peer({}, cidr="10.0.0.0/8")),
            f"{FROM}: Forbidden: may not specify both ipBlock and another peer",
        ),
        (with_peer({"ipBlock": {}}), f"{FROM}.ipBlock.cidr: Required value"),
        (
            with_peer(peer(cidr="10.0.0.0")),
            (
                f'{FROM}.ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, '
                "(e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ),
        ),
        (
            with_peer(peer(cidr="10.0.0.0/8", except_=["11.0.0.0/16"])),
            f'{FROM}.ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
        ),
        (
            with_peer(peer(cidr="10.0.0.0/8", except_=["10.0.0.0/8"])),
            f'{FROM}.ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
        ),
        (
            with_peer(peer(cidr="0.0.0.0/0", except_=["2001:db8::/64"])),
            f'{FROM}.ipBlock.except[0]: Invalid value: "2001:db8::/64": must be a strict subset of `cidr`',
        ),
        (
            network_policy("p", "x", types=["Ingress", "Egress", "Ingress"]),
            'spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes',
        ),
        (
            network_policy("p", "x", types=["ingress"]),
            'spec.policyTypes[0]: Unsupported value: "ingress": supported values: "Ingress", "Egress"',
        ),
        (
            with_peer({"ipBlock": {"cidr": "10.0.0.0/8", "except": [None]}}),
            (
                f'{FROM}.ipBlock.except[0]: Invalid value: "": must be a valid CIDR value, '
                "(e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ),
        ),
        (
            {"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"policyTypes": [None]}},
            'spec.policyTypes[0]: Unsupported value: "": supported values: "Ingress", "Egress"',
        ),
        (
            with_peer(peer(matching({"key": "a", "operator": None}))),
            f'{FROM}.podSelector.matchExpressions[0].operator: Invalid value: "": not a valid selector operator',
        ),
        (
            with_peer(peer(matching(expression("a", "In")))),
            (
                f"{FROM}.podSelector.matchExpressions[0].values: Required value: "
                "must be specified when `operator` is 'In' or 'NotIn'"
            ),
        ),
        (
            with_peer(peer(matching(expression("a", "Exists", "b")))),
            (
                f"{FROM}.podSelector.matchExpressions[0].values: Forbidden: "
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            ),
        ),
        (
            with_peer(peer(matching(expression("a", "Gt", "1")))),
            f'{FROM}.podSelector.matchExpressions[0].operator: Invalid value: "Gt": not a valid selector operator',
        ),
    ],
)
def test_each_reason_is_the_apis(policy: dict[str, Any], reason: str) -> None:
    assert invalid(policy) == [reason]


def test_several_reasons_are_all_given() -> None:
    policy = network_policy("p", "x", {"-bad": "v"}, egress=[rule(ports=[port(0), port(1, end=0)])])
    assert [reason.partition(": ")[0] for reason in invalid(policy)] == [
        "spec.podSelector.matchLabels",
        "spec.egress[0].ports[0].port",
        "spec.egress[0].ports[1].endPort",
        "spec.egress[0].ports[1].endPort",
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"podSelector": {}, "ingres": []}, 'unknown field "spec.ingres"'),
        ({"podSelector": {"matchLabels": {"pod": True}}}, "cannot unmarshal bool"),
        ({"podSelector": {}, "ingress": {}}, "cannot unmarshal object"),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 80.5}]}]}, "cannot unmarshal number"),
        ({"podSelector": {}, "ingress": [{"to": []}]}, 'unknown field "spec.ingress[0].to"'),
    ],
)
def test_what_cannot_be_decoded_is_said_so(spec: dict[str, Any], words: str) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": spec,
    }
    (reason,) = invalid(policy)
    assert words in reason


@pytest.mark.parametrize(
    "policy",
    [
        network_policy("p", "x"),
        network_policy("p", "x", ingress=[rule([], [])], egress=[]),
        with_peer(peer(cidr="10.0.0.1/24", except_=["10.0.0.7/32"])),
        with_peer(peer(cidr="010.000.000.000/8")),
        with_port(port=None, protocol=None),
        network_policy("p", "x", types=[]),
        {
            "kind": "NetworkPolicy",
            "metadata": {"name": "p", "annotations": {"a": "b"}},
            "spec": {"podSelector": None},
        },
    ],
)
def test_what_the_api_accepts_is_accepted(policy: dict[str, Any]) -> None:
    assert invalid(policy) == []


def test_a_state_refuses_invalid_policies_and_names_them() -> None:
    with pytest.raises(InvalidPolicy, match=r'NetworkPolicy "p" is invalid: .*must specify a peer') as caught:
        ClusterState.from_objects([with_peer({})])
    assert caught.value.reasons == {"x/p": [f"{FROM}: Required value: must specify a peer"]}
    assert isinstance(caught.value, UsageError)


def test_metadata_is_validated_too() -> None:
    policy = network_policy("P", "x.y", labels={"a": "-"})
    policy["metadata"]["annotations"] = {"a/b/c": ""}
    assert [reason.partition(": ")[0] for reason in invalid(policy)] == [
        "metadata.name",
        "metadata.namespace",
        "metadata.labels",
        "metadata.annotations",
    ]
    policy["metadata"] |= {"name": 7, "annotations": {"a": True}}
    assert [reason.partition(" into ")[0] for reason in invalid(policy)] == [
        "json: cannot unmarshal number",
        "json: cannot unmarshal bool",
    ]
