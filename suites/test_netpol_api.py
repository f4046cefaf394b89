# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: what the API server must reject, so that no policy means less than it says.

Every invalid policy is sent beside a valid one that differs in the fault alone; nothing is stored.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import ENDPORT_KEP, LABELS_DOCS, NETPOL_API
from pytest_cniconformance.kube.errors import Invalid
from pytest_cniconformance.model.failure import ClusterError, ConformanceFailure
from pytest_cniconformance.policy.builders import (
    INGRESS,
    Obj,
    expression,
    matching,
    network_policy,
    peer,
    port,
    rule,
)

pytestmark = pytest.mark.netpol


def _peers(*peers: Obj) -> Obj:
    return network_policy("checked", "x", {}, ingress=[rule(peers)])


def _ports(*ports: Obj) -> Obj:
    return network_policy("checked", "x", {}, ingress=[rule(ports=ports)])


def _rejected(grid: Grid, valid: Obj, *invalid: Obj) -> None:
    """Assert that the API server takes the valid policy and none of the invalid ones (dry runs)."""
    kube = grid.run.kube

    def send(policy: Obj) -> str:
        metadata: dict[str, Any] = {**policy["metadata"], "namespace": grid.topology.real("x")}
        try:
            kube.create({**policy, "metadata": metadata}, dry_run=True)
        except Invalid as error:
            return str(error)
        return ""

    if refusal := send(valid):
        raise ClusterError(f"a valid policy is refused, so that a refusal proves nothing: {refusal}")
    taken = [policy["spec"] for policy in invalid if not send(policy)]
    if taken:
        raise ConformanceFailure(f"the API server accepted {len(taken)} invalid policies: {taken}")


@requirement("NP-EMP-7", feature="networkpolicy/validation", source=NETPOL_API)
def test_a_peer_must_say_something_and_one_thing_only(cni_grid: Grid) -> None:
    """A peer without any field is rejected, and so is an ipBlock together with a selector."""
    block = peer(cidr="192.0.2.0/24")
    _rejected(
        cni_grid,
        _peers(block),
        _peers({}),
        _peers(block, {}),
        _peers({**block, **peer(pods={})}),
        _peers({**block, **peer(namespaces={"ns": "y"})}),
    )


@requirement("NP-EMP-8", feature="networkpolicy/validation", source=NETPOL_API)
def test_null_is_not_an_empty_selector(cni_grid: Grid) -> None:
    """A selector that is null is no selector, so that a peer with nothing else is rejected; `{}` is one."""
    nothing: Obj = {"podSelector": None}
    _rejected(
        cni_grid,
        _peers({"podSelector": {}}),
        _peers(nothing),
        _peers({**nothing, "namespaceSelector": None}),
    )


@requirement("NP-VAL-1-ENDPORT", feature="networkpolicy/validation", source=ENDPORT_KEP)
def test_an_end_port_needs_a_number_below_it(cni_grid: Grid) -> None:
    """An endPort below port, without port, beside a name or beyond 65535 is rejected."""
    _rejected(
        cni_grid,
        _ports(port(80, end=80)),
        _ports(port(80, end=79)),
        _ports(port(None, end=80)),
        _ports(port("web", end=80)),
        _ports(port(80, end=65536)),
    )


@requirement("NP-VAL-1-EXCEPT", feature="networkpolicy/validation", source=NETPOL_API)
def test_except_must_lie_inside_its_block(cni_grid: Grid) -> None:
    """An except outside its cidr, equal to it, wider than it or of the other family is rejected."""
    block = "192.0.2.0/24"
    _rejected(
        cni_grid,
        _peers(peer(cidr=block, except_=["192.0.2.0/25"])),
        *(
            _peers(peer(cidr=block, except_=["192.0.2.0/25", text]))
            for text in ("198.51.100.0/25", block, "192.0.2.0/23", "2001:db8::/64", "192.0.2.0", "")
        ),
    )


@requirement("NP-VAL-1-CIDR", feature="networkpolicy/validation", source=NETPOL_API)
def test_a_block_must_be_a_cidr(cni_grid: Grid) -> None:
    """An ipBlock whose cidr is missing, empty, without prefix or out of range is rejected."""
    _rejected(
        cni_grid,
        _peers(peer(cidr="2001:db8::/32")),
        _peers({"ipBlock": {"except": ["192.0.2.0/25"]}}),
        *(_peers(peer(cidr=text)) for text in ("", "192.0.2.1", "192.0.2.0/33", "256.0.2.0/24", "everyone")),
    )


@requirement("NP-VAL-1-PORT", feature="networkpolicy/validation", source=NETPOL_API)
def test_ports_and_protocols_must_exist(cni_grid: Grid) -> None:
    """A port outside 1 to 65535, a name that no port can have, and an unknown protocol are rejected."""
    _rejected(
        cni_grid,
        _ports(port(65535, "SCTP"), port("web")),
        *(_ports(port(number)) for number in (0, 65536, "", "Web", "a-name-that-is-too-long")),
        _ports(port(80, "ICMP")),
        _ports(port(80, "tcp")),
    )


@requirement("NP-VAL-1-TYPES", feature="networkpolicy/validation", source=NETPOL_API)
def test_policy_types_are_ingress_and_egress(cni_grid: Grid) -> None:
    """A policyTypes with an unknown type or more than two entries is rejected."""
    valid = network_policy("checked", "x", {}, types=[INGRESS])
    wrong = (["ingress"], ["Forward"], [INGRESS, "Egress", INGRESS])
    _rejected(cni_grid, valid, *(network_policy("checked", "x", {}, types=types) for types in wrong))


@requirement("NP-VAL-1-SELECTOR", feature="networkpolicy/validation", source=LABELS_DOCS)
def test_expressions_have_values_where_they_need_them(cni_grid: Grid) -> None:
    """In and NotIn without values, Exists and DoesNotExist with values, and unknown operators are rejected."""
    wrong = [
        expression("tier", "In"),
        expression("tier", "NotIn"),
        expression("tier", "Exists", "db"),
        expression("tier", "DoesNotExist", "db"),
        expression("tier", "Gt", "1"),
        expression("not a key", "Exists"),
        expression("tier", "In", "not a value"),
    ]
    _rejected(
        cni_grid,
        network_policy("checked", "x", matching(expression("tier", "In", "db")), types=[INGRESS]),
        *(network_policy("checked", "x", matching(one), types=[INGRESS]) for one in wrong),
        *(_peers(peer(namespaces=matching(one))) for one in wrong),
    )
