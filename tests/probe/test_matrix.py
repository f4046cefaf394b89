# SPDX-License-Identifier: Apache-2.0
"""A matrix settles when it agrees, is confirmed, and tells how long allow and deny took."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from pytest_cniconformance.model.matrix import Cell, Decision, Expectation
from pytest_cniconformance.model.verdict import Protocol, Verdict
from pytest_cniconformance.probe import Fleet, PodMatrix, Target, Window, calibrate

if TYPE_CHECKING:
    from tests.probe.conftest import Network

WINDOW = Window(0.3)
ALLOW, DENY = Expectation(Decision.ALLOW), Expectation(Decision.DENY)


def matrix_of(network: Network, fleet: Fleet) -> PodMatrix:
    targets = {
        f"x/{pod}": Target.pod(f"x/{pod}", {f: network.ip(pod, f) for f in ("ipv4", "ipv6")})
        for pod in network.pods
    }
    return PodMatrix(fleet, targets, window=WINDOW)


def all_cells(network: Network) -> list[Cell]:
    return [
        Cell(f"x/{a}", f"x/{b}", 80, protocol, family)
        for a in network.pods
        for b in network.pods
        for protocol in (Protocol.TCP, Protocol.UDP)
        for family in ("ipv4", "ipv6")
    ]


def test_whole_matrix_is_observed_over_both_families(network: Network, fleet: Fleet) -> None:
    network.filter(f"ip6 daddr {network.ip('b', 'ipv6')} udp dport 80 drop")
    observed = matrix_of(network, fleet).observe(all_cells(network))
    for cell, found in observed.items():
        blocked = (
            cell.destination == "x/b"
            and cell.source != "x/b"
            and cell.protocol is Protocol.UDP
            and cell.family == "ipv6"
        )
        assert found.verdict is (Verdict.DROPPED if blocked else Verdict.OPEN), f"{cell}: {found}"


def test_settle_tells_when_the_last_cell_came_to_agree(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 81 drop")
    change = threading.Timer(0.7, network.filter, ["tcp dport 80 drop"])
    expected = {Cell("x/a", "x/b", 80): DENY, Cell("x/a", "x/b", 81): ALLOW, Cell("x/b", "x/a", 81): ALLOW}
    change.start()
    settled = matrix_of(network, fleet).settle(expected, deadline=10)
    change.join()
    assert settled.agreed, settled.mismatches
    assert settled.rounds >= 3
    assert settled.seconds is not None and 0.5 < settled.seconds < 5
    assert settled.observed[Cell("x/a", "x/b", 80)].verdict is Verdict.DROPPED


def test_settle_gives_up_at_the_deadline_and_returns_the_mismatch(network: Network, fleet: Fleet) -> None:
    expected = {Cell("x/a", "x/b", 80): DENY, Cell("x/a", "x/c", 80): ALLOW}
    began = monotonic()
    settled = matrix_of(network, fleet).settle(expected, deadline=0.5)
    assert 0.5 <= monotonic() - began < 5
    assert [m.cell for m in settled.mismatches] == [Cell("x/a", "x/b", 80)]
    assert settled.mismatches[0].leak
    assert settled.seconds is None


def test_flapping_cell_is_called_unstable(network: Network, fleet: Fleet) -> None:
    """The confirmation disagrees with the first agreement: that is told even if the end is good."""
    cell = Cell("x/a", "x/b", 80)
    matrix = matrix_of(network, fleet)
    real, calls = matrix.observe, []

    def observe(cells: object, *, window: Window) -> object:
        network.filter(*([] if len(calls) != 1 else ["tcp dport 80 drop"]))
        calls.append(cells)
        return real(cells, window=window)  # type: ignore[arg-type]

    matrix.observe = observe  # type: ignore[assignment,method-assign]
    settled = matrix.settle({cell: ALLOW}, deadline=10)
    assert settled.agreed
    assert settled.unstable == (cell,)
    assert settled.rounds == 4


def test_wrong_responder_is_a_mismatch_that_is_known(network: Network, fleet: Fleet) -> None:
    targets = {"x/b": Target({"ipv4": network.ip("c")}, responder="x/b", prover="x/c")}
    matrix = PodMatrix(fleet, targets, window=WINDOW)
    for expectation in (ALLOW, DENY):
        settled = matrix.settle({Cell("x/a", "x/b", 80): expectation}, deadline=0)
        (mismatch,) = settled.mismatches
        assert not mismatch.unknown
        assert mismatch.observed.cause == "answered by x/c, not by x/b"


def test_missing_address_of_a_family_agrees_with_nothing(network: Network, fleet: Fleet) -> None:
    targets = {"x/b": Target.pod("x/b", {"ipv4": network.ip("b")})}
    cell = Cell("x/a", "x/b", 80, Protocol.TCP, "ipv6")
    settled = PodMatrix(fleet, targets, window=WINDOW).settle({cell: DENY}, deadline=0)
    assert settled.mismatches[0].observed.verdict is Verdict.DNS_FAILED


def test_ports_of_a_target_are_translated(network: Network, fleet: Fleet) -> None:
    network.serve("b", "TCP:8123", identity="x/backend")
    target = Target({"ipv4": network.ip("b")}, "x/backend", "x/b", ports={(80, Protocol.TCP): 8123})
    cell = Cell("x/a", "service", 80)
    observed = PodMatrix(fleet, {"service": target}, window=WINDOW).observe([cell])
    assert observed[cell].verdict is Verdict.OPEN


def test_calibration_measures_round_trips_and_clamps_the_window(network: Network, fleet: Fleet) -> None:
    window = calibrate(fleet, [("x/a", network.ip("b"), 80), ("x/b", network.ip("c"), 80)], count=10)
    assert window.samples == 20
    assert window.losses == 0
    assert window.rtt_p50_ms is not None and window.rtt_p99_ms is not None
    assert window.rtt_p50_ms <= window.rtt_p99_ms
    assert 0.3 <= window.seconds <= 3.0


def test_an_agreement_of_the_time_before_the_change_does_not_outlast_the_hold(
    network: Network, fleet: Fleet
) -> None:
    cell = Cell("x/a", "x/b", 80)
    change = threading.Timer(0.4, network.filter, ["tcp dport 80 drop"])
    change.start()
    settled = matrix_of(network, fleet).settle({cell: ALLOW}, deadline=0.6, hold=1.0)
    change.join()
    assert settled.unstable == (cell,)
    assert [m.cell for m in settled.mismatches] == [cell]


def test_a_pod_that_loses_its_own_address_is_a_finding_and_its_server_none_the_less_lives(
    network: Network, fleet: Fleet
) -> None:
    own = network.ip("a")
    table = f"chain i {{\ntype filter hook input priority 0;\nip saddr {own} ip daddr {own} drop\n}}"
    network.run("a", "nft", "-f", "-", stdin=f"table inet own {{\n{table}\n}}\n")
    itself, other = Cell("x/a", "x/a", 80), Cell("x/b", "x/a", 80)
    try:
        network.filter("tcp dport 80 drop")
        observed = matrix_of(network, fleet).observe([itself, other])
    finally:
        network.run("a", "nft", "delete table inet own")
    assert observed[itself].verdict is Verdict.DROPPED
    # Of the others nothing is known: the pod's own network is damaged.
    assert observed[other].verdict is Verdict.PROBE_ERROR
    nobody = Cell("x/a", "x/a", 4)
    assert matrix_of(network, fleet).observe([nobody])[nobody].verdict is Verdict.PROBE_ERROR


def test_what_agreed_before_the_probers_failed_is_asked_again(network: Network, fleet: Fleet) -> None:
    own = network.ip("a")
    table = f"chain i {{\ntype filter hook input priority 0;\nip saddr {own} ip daddr {own} drop\n}}"
    matrix = matrix_of(network, fleet)
    real = matrix.observe
    itself, other = Cell("x/a", "x/a", 80), Cell("x/a", "x/b", 80)

    def observe(cells: object, **options: object) -> object:
        found = real(cells, **options)  # type: ignore[arg-type]
        if not network.run("a", "nft", "list tables"):
            network.run("a", "nft", "-f", "-", stdin=f"table inet own {{\n{table}\n}}\n")
        return found

    matrix.observe = observe  # type: ignore[assignment,method-assign]
    network.filter("ip daddr 10.77.2.2 drop")
    try:
        settled = matrix.settle({itself: ALLOW, other: ALLOW}, deadline=1)
    finally:
        network.run("a", "nft", "delete table inet own")
    found = {mismatch.cell: mismatch for mismatch in settled.mismatches}
    assert found[other].unknown and not found[itself].unknown
