# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: ports by number and by name, and protocols."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.placement import near_and_far
from pytest_cniconformance.fixtures.sources import NETPOL_API
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import EGRESS, Obj, network_policy, port, rule

pytestmark = pytest.mark.netpol

TCP = (Protocol.TCP,)
NAMED, WEB = ("x/a", "x/b", "x/c"), (82, 8080)
"""In pods a and b the port name ``web`` stands for the first number, in pods c for the second."""

ALL_PROTOCOLS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)


def _allow(*ports: Obj) -> Obj:
    """Return a policy that lets everyone in to all pods of x, on these ports only."""
    return network_policy("ports", "x", {}, ingress=[rule(ports=ports)])


@pytest.mark.smoke
@requirement("NP-PRT-1", feature="networkpolicy/ports", source=NETPOL_API)
def test_a_port_means_tcp_unless_it_says_so(cni_grid: Grid) -> None:
    """A port without protocol is TCP; UDP on the same number and other ports stay closed."""
    sources = near_and_far(cni_grid, "x/a")
    cni_grid.apply(_allow(port(80, None), port(81)))
    cni_grid.check("80 and 81 over TCP", sources=sources, destinations=["x/a"])
    cni_grid.apply(_allow(port(80, None)))
    cni_grid.check("80 over TCP", sources=sources, destinations=["x/a"])


@requirement("NP-PRT-1-EGRESS", feature="networkpolicy/ports", source=NETPOL_API)
def test_an_egress_port_means_tcp_unless_it_says_so(cni_grid: Grid) -> None:
    """In egress rules too a port without protocol is TCP, and it is the port of the destination."""
    destinations = near_and_far(cni_grid, "x/a")
    cni_grid.apply(network_policy("ports", "x", {}, egress=[rule(ports=[port(80, None)])], types=[EGRESS]))
    cni_grid.check("80 over TCP", sources=["x/a"], destinations=destinations)


@requirement("NP-PRT-2", feature="networkpolicy/ports", source=NETPOL_API)
def test_a_protocol_without_port_means_all_its_ports(cni_grid: Grid) -> None:
    """An entry with a protocol and no port allows every port of that protocol and no other protocol."""
    sources = near_and_far(cni_grid, "x/a")
    for protocol in (Protocol.UDP, Protocol.TCP):
        cni_grid.apply(_allow(port(None, protocol)))
        cni_grid.check(f"all of {protocol}", sources=sources, destinations=["x/a"])


@requirement("NP-PRT-LIST", feature="networkpolicy/ports", source=NETPOL_API)
def test_each_entry_keeps_its_own_protocol(cni_grid: Grid) -> None:
    """Entries of one list are alternatives; their numbers and protocols are not mixed."""
    sources = near_and_far(cni_grid, "x/a")
    cni_grid.apply(_allow(port(80, "TCP"), port(81, "UDP")))
    cni_grid.check("80 over TCP, 81 over UDP", sources=sources, destinations=["x/a"])
    cni_grid.apply(_allow(port(81, "UDP"), port(None, "TCP")))
    cni_grid.check("81 over UDP, all of TCP", sources=sources, destinations=["x/a"])


@pytest.mark.smoke
@requirement("NP-PRT-4", feature="networkpolicy/named-ports", source=NETPOL_API)
def test_a_port_name_is_resolved_in_each_destination(cni_grid: Grid) -> None:
    """A named port allows in each pod the number that this pod gives to the name, and no other."""
    cni_grid.check("no policy", destinations=NAMED, ports=WEB, protocols=TCP)
    cni_grid.apply(_allow(port("web")))
    cni_grid.check("web is 82 in x/a and 8080 in x/c", destinations=NAMED, ports=WEB, protocols=TCP)


@requirement("NP-PRT-4-ABSENT", feature="networkpolicy/named-ports", source=NETPOL_API)
def test_pods_without_the_port_name_do_not_match(cni_grid: Grid) -> None:
    """A pod without a port of that name is isolated and not opened, whatever the name means elsewhere."""
    cni_grid.check("no policy", destinations=NAMED, ports=WEB, protocols=TCP)
    cni_grid.apply(_allow(port("serve-82-tcp")))
    cni_grid.check("only x/c has serve-82-tcp", destinations=NAMED, ports=WEB, protocols=TCP)


@requirement(
    "NP-PRT-5",
    feature="networkpolicy/named-ports",
    source=NETPOL_API,
)
def test_pods_of_equal_labels_may_number_a_name_differently(cni_grid: Grid) -> None:
    """An egress rule with a named port holds for each destination, also between pods with the same labels."""
    cni_grid.check("no policy", sources=["y/a"], destinations=NAMED, ports=WEB, protocols=TCP)
    cni_grid.relabel("x/c", {"pod": "a"})
    to_web = [rule(ports=[port("web")])]
    cni_grid.apply(network_policy("ports", "y", {}, egress=to_web, types=[EGRESS]))
    cni_grid.check("web of x/a and x/c", sources=["y/a"], destinations=NAMED, ports=WEB, protocols=TCP)


@requirement("NP-PRT-6", feature="networkpolicy/named-ports", source=NETPOL_API)
def test_a_port_name_counts_for_its_own_protocol(cni_grid: Grid) -> None:
    """A name of a UDP port matches no TCP entry, and opens the UDP port only where the entry says UDP."""
    sources = near_and_far(cni_grid, "x/a")
    for protocol in (Protocol.TCP, Protocol.UDP):
        cni_grid.apply(_allow(port("serve-81-udp", protocol)))
        cni_grid.check(f"serve-81-udp over {protocol}", sources=sources, destinations=["x/a"])


@requirement("NP-PRT-7", feature="networkpolicy/named-ports", source=NETPOL_API)
def test_an_unknown_port_name_isolates_all_the_same(cni_grid: Grid) -> None:
    """A rule whose port name no pod has allows nothing; the pods are isolated nevertheless."""
    cni_grid.apply(_allow(port("nobody-has-it")))
    cni_grid.check("nothing is allowed", sources=near_and_far(cni_grid, "x/a"), destinations=["x/a"])
    cni_grid.apply(_allow(port("nobody-has-it"), port(80)))
    cni_grid.check("80 over TCP", sources=near_and_far(cni_grid, "x/a"), destinations=["x/a"])


@requirement("NP-SCTP-1", feature="networkpolicy/sctp", source=NETPOL_API)
def test_sctp_is_a_protocol_of_its_own(cni_grid: Grid) -> None:
    """A port over SCTP allows SCTP on that number, and neither TCP nor UDP."""
    sources = _with_sctp(cni_grid, "x/a")
    cni_grid.apply(_allow(port(80, "SCTP")))
    cni_grid.check("80 over SCTP", sources=sources, destinations=["x/a"], protocols=ALL_PROTOCOLS)


@requirement("NP-SCTP-2", feature="networkpolicy/sctp", source=NETPOL_API)
def test_rules_for_tcp_and_udp_do_not_open_sctp(cni_grid: Grid) -> None:
    """Ports over TCP and UDP leave SCTP closed on the same numbers."""
    sources = _with_sctp(cni_grid, "x/a")
    cni_grid.apply(_allow(port(80, "TCP"), port(None, "UDP")))
    cni_grid.check("80 over TCP, all of UDP", sources=sources, destinations=["x/a"], protocols=ALL_PROTOCOLS)


def _with_sctp(grid: Grid, key: str) -> Sequence[str]:
    """Return sources for ``key`` once SCTP is seen to work between them; skip where there is none."""
    if grid.sctp_lacking:
        pytest.skip(grid.sctp_lacking)
    sources = near_and_far(grid, key)
    grid.check("no policy", sources=sources, destinations=[key], protocols=ALL_PROTOCOLS)
    return sources
