# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: port ranges, asked at both ends and one beyond.

The agents of the pods in question serve these ports for the length of a check.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pytest

from pytest_cniconformance.fixtures import TRAIT, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.placement import near_and_far
from pytest_cniconformance.fixtures.sources import ENDPORT_KEP
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.policy.builders import EGRESS, Obj, network_policy, port, rule
from pytest_cniconformance.probe.questions import listen

pytestmark = pytest.mark.netpol

TCP, UDP = (Protocol.TCP,), (Protocol.UDP,)


class _Range:
    """x/a under a policy on ports, asked by a pod of its node and one of another."""

    def __init__(self, grid: Grid, ports: Sequence[int], protocols: Sequence[Protocol] = TCP) -> None:
        self._grid = grid
        self._ports, self._protocols = ports, protocols
        self._sources = near_and_far(grid, "x/a")
        for number in ports:
            for protocol in protocols:
                listen(grid.agent("x/a"), number, protocol)
        self._ask("no policy")

    def check(self, title: str, *entries: Obj) -> None:
        """Allow these port entries to everyone, and check every port of the range."""
        self._grid.apply(network_policy("range", "x", {"pod": "a"}, ingress=[rule(ports=entries)]))
        self._ask(title)

    def _ask(self, title: str) -> None:
        self._grid.check(
            title,
            sources=self._sources,
            destinations=["x/a"],
            ports=self._ports,
            protocols=self._protocols,
        )


@pytest.mark.smoke
@requirement("NP-END-1", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_end_port_covers_the_range(cni_grid: Grid) -> None:
    """A range up to endPort allows every port of the range, both ends included, and no other."""
    _Range(cni_grid, (1000, 1001, 1002, 1003, 1004)).check("1001 to 1003", port(1001, end=1003))


@requirement("NP-END-2", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_both_ends_of_a_range_are_exact(cni_grid: Grid) -> None:
    """A range that no single prefix covers ends at its numbers, not at a power of two."""
    odd = _Range(cni_grid, (1022, 1023, 1024, 2047, 2048, 4095, 4096, 4097))
    odd.check("1023 to 4096", port(1023, end=4096))
    odd.check("1024 to 4095", port(1024, end=4095))


@requirement("NP-END-2-SAME", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_a_range_may_be_one_port(cni_grid: Grid) -> None:
    """A range whose endPort equals its port is that port."""
    _Range(cni_grid, (1000, 1001, 1002)).check("1001 to 1001", port(1001, end=1001))


@requirement("NP-END-2-FULL", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_a_range_may_be_all_ports(cni_grid: Grid) -> None:
    """The range from 1 to 65535 allows both of them; from 2 to 65534 it allows neither."""
    widest = _Range(cni_grid, (1, 2, 30000, 65534, 65535))
    widest.check("1 to 65535", port(1, end=65535))
    widest.check("2 to 65534", port(2, end=65534))


@requirement("NP-END-2-OVERLAP", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_ranges_may_overlap_and_touch(cni_grid: Grid) -> None:
    """Ranges that overlap, lie in one another or touch allow what any of them allows, and not the gap."""
    several = _Range(cni_grid, (999, 1000, 1002, 1004, 1005, 1006, 1007, 1008, 1009))
    entries = (port(1000, end=1002), port(1001, end=1004), port(1003), port(1005, end=1006), port(1008))
    several.check("1000 to 1006, and 1008", *entries)


@requirement("NP-END-2-UDP", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_a_range_counts_for_its_own_protocol(cni_grid: Grid) -> None:
    """A range over UDP leaves TCP closed on the same numbers, and the other way round."""
    both = _Range(cni_grid, (1000, 1001, 1002, 1003), (Protocol.TCP, Protocol.UDP))
    both.check("1001 to 1002 over UDP", port(1001, "UDP", end=1002))
    both.check("the same over TCP", port(1001, "TCP", end=1002))


@requirement("NP-END-2-EGRESS", feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_a_range_limits_egress(cni_grid: Grid) -> None:
    """In egress rules a range is one of destination ports, with both ends included."""
    numbers = (1000, 1001, 1002, 1003)
    destinations = near_and_far(cni_grid, "x/a")
    for key in destinations:
        for number in numbers:
            listen(cni_grid.agent(key), number)

    def ask(title: str) -> None:
        cni_grid.check(title, sources=["x/a"], destinations=destinations, ports=numbers, protocols=TCP)

    ask("no policy")
    entries = [rule(ports=[port(1001, end=1002)])]
    cni_grid.apply(network_policy("range", "x", {"pod": "a"}, egress=entries, types=[EGRESS]))
    ask("to 1001 and 1002")


@requirement("NP-END-3", level=TRAIT, feature="networkpolicy/endport", source=ENDPORT_KEP)
def test_what_a_range_means(cni_grid: Grid, cni_trait: Callable[..., None]) -> None:
    """What a CNI makes of endPort: the range, its first port only, or something else."""
    numbers = (1000, 1001, 1002, 1003)
    _Range(cni_grid, numbers).check("only 1001", port(1001))
    cni_grid.apply(network_policy("range", "x", {"pod": "a"}, ingress=[rule(ports=[port(1001, end=1002)])]))
    source = near_and_far(cni_grid, "x/a")[0]
    probes = [Probe(source, cni_grid.pod("x/a").ip, number) for number in numbers]
    seen: tuple[int, ...] = ()

    def only_the_first() -> str | None:
        nonlocal seen
        found = zip(probes, cni_grid.probe(*probes), strict=True)
        before, seen = seen, tuple(probe.port for probe, got in found if got.verdict is Verdict.OPEN)
        return None if seen == before and seen != (1001,) else f"only {seen} are open"

    with contextlib.suppress(ConformanceFailure):  # until the deadline, a range may yet come
        cni_grid.eventually("what endPort opens", only_the_first, deadline=cni_grid.patience())
    meanings = {(1001, 1002): "range", (1001,): "first port only", (): "nothing", numbers: "every port"}
    cni_trait("endport", meanings.get(seen, f"other: {', '.join(map(str, seen))}"))
