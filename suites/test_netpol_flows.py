# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: flows that live while policies come and go, their replies, and new connections beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from pytest_cniconformance.fixtures import SHOULD, TRAIT, requirement
from pytest_cniconformance.fixtures.grid import DEFAULT_PROTOCOLS, Grid
from pytest_cniconformance.fixtures.placement import near_and_far
from pytest_cniconformance.fixtures.sources import NETPOL_DOCS
from pytest_cniconformance.fixtures.traits import Record, placement, summed_up, unmeasured
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy, peer, rule
from pytest_cniconformance.probe.questions import HeldFlow, Hold, hold

pytestmark = pytest.mark.netpol

ESTABLISHED = NETPOL_DOCS + "#networkpolicy-s-impact-on-existing-connections"
EXCHANGES = 10
UDP = (Protocol.UDP,)
SYN_PATIENCE_S = 20.0
"""Linux sends a SYN again after 1, 3, 7 and 15 seconds."""


@contextlib.contextmanager
def _flows(
    grid: Grid, sources: Sequence[str], destination: str, protocol: Protocol
) -> Iterator[dict[str, Hold]]:
    """Hold a flow from each source, each of which has been answered."""
    host = grid.pod(destination).ip
    held = {key: hold(grid.agent(key), host, 80, protocol, patience_ms=300) for key in sources}
    try:
        for key, flow in held.items():
            _answered(grid, f"a flow from {key} to {destination}:80/{protocol}", flow, EXCHANGES)
        yield held
    finally:
        for flow in held.values():
            flow.stop()


def _answered(grid: Grid, what: str, flow: Hold, wanted: int) -> None:
    def wrong() -> str | None:
        status = flow.status()
        return None if status.answered >= wanted else f"answered {status.answered} times {status.ended}"

    grid.eventually(what, wrong)


def _moves(grid: Grid, flow: Hold) -> tuple[bool, HeldFlow]:
    """Say whether a flow is still answered: within three outages' time of trying."""
    before = flow.status()

    def undecided() -> str | None:
        status = flow.status()
        done = status.ended or status.answered > before.answered + 1 or status.sent > before.sent + 3
        return None if done else "neither answered nor given up"

    grid.eventually("what becomes of a held flow", undecided)
    after = flow.status()
    return after.answered > before.answered + 1, after


@requirement("NP-REP-2", feature="networkpolicy/replies", source=NETPOL_DOCS)
def test_replies_do_not_open_the_way_back(cni_grid: Grid) -> None:
    """While an allowed connection lives, a new one the other way round is denied."""
    servers = near_and_far(cni_grid, "x/a")
    cni_grid.apply(network_policy("default-deny", "x", {"pod": "a"}, types=[INGRESS]))
    ends = ["x/a", *servers]
    cni_grid.check("x/a may only ask", sources=ends, destinations=ends, ports=(80,))
    with contextlib.ExitStack() as stack:
        for server in servers:
            for protocol in DEFAULT_PROTOCOLS:
                stack.enter_context(_flows(cni_grid, ["x/a"], server, protocol))
        cni_grid.check("x/a asks all the time", sources=ends, destinations=ends, ports=(80,))


@requirement("NP-REP-3", feature="networkpolicy/replies", source=NETPOL_DOCS)
def test_answers_to_datagrams_pass(cni_grid: Grid) -> None:
    """A UDP flow between a client that lets nothing in and a server that lets nothing out is answered."""
    clients, both = ["x/a", "x/c"], [INGRESS, EGRESS]
    to_y = [rule([peer(namespaces={"ns": "y"})])]
    cni_grid.apply(
        network_policy("server", "y", {"pod": "a"}, ingress=[rule()], types=both),
        network_policy("client", "x", {}, egress=to_y, types=both),
    )
    ends = [*clients, "y/a"]
    cni_grid.check("datagrams to y/a only", sources=ends, destinations=ends, ports=(80,), protocols=UDP)
    with _flows(cni_grid, clients, "y/a", Protocol.UDP):
        pass


@requirement("NP-EST-1-NEW", feature="networkpolicy/established", source=ESTABLISHED)
def test_new_connections_are_judged_whatever_is_established(cni_grid: Grid) -> None:
    """A policy denies new connections between two pods although older ones of theirs live on."""
    clients = near_and_far(cni_grid, "x/a")
    with _flows(cni_grid, clients, "x/a", Protocol.TCP), _flows(cni_grid, clients, "x/a", Protocol.UDP):
        cni_grid.apply(network_policy("default-deny", "x", {"pod": "a"}, types=[INGRESS]))
        cni_grid.check("new connections", sources=clients, destinations=["x/a"])


@requirement("NP-EST-2", level=SHOULD, feature="networkpolicy/established", source=ESTABLISHED)
def test_a_connection_under_way_succeeds_once_it_is_allowed(cni_grid: Grid) -> None:
    """A connection whose first packets were denied is established by later ones after the policy allows it."""
    clients = near_and_far(cni_grid, "x/a")
    cni_grid.apply(network_policy("deny", "x", {"pod": "a"}, types=[INGRESS]))
    cni_grid.check("denied", sources=clients, destinations=["x/a"], ports=(80,))
    patience = int(SYN_PATIENCE_S * 1000)
    target = cni_grid.pod("x/a").ip
    held = {key: hold(cni_grid.agent(key), target, 80, patience_ms=patience) for key in clients}
    try:
        refused = [f"{key}: {flow.status().ended}" for key, flow in held.items() if flow.status().ended]
        if refused:
            raise Inconclusive(f"denied connections are refused at once here: {', '.join(refused)}")
        cni_grid.apply(network_policy("deny", "x", {"pod": "a"}, ingress=[rule()]))
        cni_grid.check("allowed", sources=clients, destinations=["x/a"], ports=(80,))
        for key, flow in held.items():

            def wrong(flow: Hold = flow) -> str | None:
                status = flow.status()
                return None if status.answered else f"no answer yet {status.ended}"

            what = f"the connection of {key} that began under deny"
            cni_grid.eventually(what, wrong, deadline=SYN_PATIENCE_S)
    finally:
        for flow in held.values():
            flow.stop()


@requirement("NP-EST-1", level=TRAIT, feature="networkpolicy/established", source=ESTABLISHED)
def test_established_connections_when_a_policy_denies_them(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether connections that are established when a policy forbids them are kept or dropped."""
    _established(cni_grid, cni_trait, "established-connections", Protocol.TCP)


@requirement("NP-EST-3", level=TRAIT, feature="networkpolicy/established", source=ESTABLISHED)
def test_udp_flows_when_a_policy_denies_them(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether UDP flows without a pause are kept or dropped when a policy forbids them."""
    _established(cni_grid, cni_trait, "established-udp-flows", Protocol.UDP)


def _established(grid: Grid, record: Record, name: str, protocol: Protocol) -> None:
    clients = near_and_far(grid, "x/a")
    found, notes = {}, []
    with _flows(grid, clients, "x/a", protocol) as held:
        grid.apply(network_policy("default-deny", "x", {"pod": "a"}, types=[INGRESS]))
        grid.check("new connections are denied", sources=clients, destinations=["x/a"], ports=(80,))
        for key, flow in held.items():
            try:
                moves, status = _moves(grid, flow)
            except ConformanceFailure as failure:
                unmeasured(record, [name], str(failure))
            found[placement(grid, key, "x/a")] = "kept" if moves else "dropped"
            notes += [status.ended] if status.ended else []
    record(name, summed_up(found), "; ".join(dict.fromkeys(notes)))
