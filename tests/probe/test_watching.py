# SPDX-License-Identifier: Apache-2.0
"""Watched paths: dated on the runner's clock, dense while nothing is answered, vouched for; and first packets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_cniconformance.probe import AgentError, Fleet
from pytest_cniconformance.probe.transport import LAUNCHER, agent_command
from pytest_cniconformance.probe.watching import Attempts, ClockMap, PathWatch, Seen

if TYPE_CHECKING:
    from tests.probe.conftest import Network


def look_until(watch: PathWatch, wanted: Callable[[Seen], bool]) -> Seen:
    end, pause = time.monotonic() + 20, threading.Event()
    while not wanted(seen := watch.look()):
        assert time.monotonic() < end, seen
        pause.wait(0.02)
    return seen


def last_run(seen: Seen) -> Attempts | None:
    (found,) = seen.paths.values()
    return found[-1] if found else None


def long(is_open: bool) -> Callable[[Seen], bool]:
    return lambda seen: (run := last_run(seen)) is not None and run.open is is_open and run.count >= 20


def test_a_deny_and_an_allow_are_dated_on_the_runners_clock(network: Network, fleet: Fleet) -> None:
    with PathWatch(fleet.session("x/a"), [(network.ip("b"), 80)], window_ms=100) as watch:
        look_until(watch, long(True))
        before_deny = time.monotonic()
        network.filter(f"ip daddr {network.ip('b')} drop")
        after_deny = time.monotonic()
        look_until(watch, long(False))
        before_allow = time.monotonic()
        network.filter()
        after_allow = time.monotonic()
        seen = look_until(watch, long(True))
    opened, closed, again = seen.paths[network.ip("b"), 80]
    # A stall of this machine delays attempts, so that a run begins later; it cannot begin before its cause.
    slack = seen.clock_error
    assert [opened.open, closed.open, again.open] == [True, False, True]
    assert opened.last <= after_deny + slack
    assert closed.first >= before_deny - slack
    assert closed.last <= after_allow + slack
    assert again.first >= before_allow - slack
    assert closed.cause == "no answer"
    assert all(run.open for run in seen.control)
    assert 0 <= seen.clock_error < 1


def test_silence_does_not_thin_the_attempts_out(network: Network, fleet: Fleet) -> None:
    network.filter(f"ip daddr {network.ip('b')} drop")
    with PathWatch(fleet.session("x/a"), [(network.ip("b"), 80)], window_ms=300) as watch:
        seen = look_until(watch, lambda seen: bool(last_run(seen)) and last_run(seen).count >= 40)  # type: ignore[union-attr]
    run = last_run(seen)
    assert run is not None
    assert (run.last - run.first) / (run.count - 1) < 0.1  # one at a time would need 300 ms each


def test_a_refusal_is_a_denial_with_its_cause(network: Network, fleet: Fleet) -> None:
    with PathWatch(fleet.session("x/a"), [(network.ip("b"), 7)], window_ms=100) as watch:
        run = last_run(look_until(watch, long(False)))
    assert run is not None
    assert "refused" in run.cause


def test_unknown_watches_and_names_are_errors(fleet: Fleet) -> None:
    with pytest.raises(AgentError, match="KeyError"):
        fleet.request("x/a", "watch_status", watch=99)
    with pytest.raises(AgentError, match="unknown operation 'watchful'"):
        fleet.request("x/a", "watchful")
    with pytest.raises(AgentError, match="needs an IP address, not 'web'"):
        fleet.request("x/a", "watch", w=100, paths=[["web", 80]])


def test_a_beacon_starts_the_attempts(network: Network, fleet: Fleet) -> None:
    with PathWatch(fleet.session("x/b"), [], window_ms=100, beacon=4) as watch:
        command = agent_command("first", "x/new", python=sys.executable, folder=LAUNCHER.parent)
        flags = ["--listen", "TCP:8080", "--call", f"{network.ip('b')}_{watch.beacon_port}"]
        network.start("c", *command, *flags)
        place = (network.ip("c"), 8080)
        seen = look_until(watch, lambda seen: place in seen.paths and bool(seen.paths[place]))
    assert seen.paths[place][0].open  # the beacon says that it listens
    assert seen.heard[place] <= seen.paths[place][0].first


def test_first_packets_are_told_by_the_pod_itself(network: Network) -> None:
    command = agent_command("first", "x/new", python=sys.executable, folder=LAUNCHER.parent)
    network.filter(f"ip daddr {network.ip('b')} tcp dport 81 drop")
    flags = [word for port in (80, 81) for word in ("--to", f"{network.ip('b')}_{port}")]
    process = network.start("c", *command, *flags)
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    allowed, forbidden = (facts["paths"][f"{network.ip('b')} {port}"] for port in (80, 81))
    assert [run[0] for run in allowed["runs"]] == ["open"]
    assert [run[0] for run in forbidden["runs"]] == ["denied"]
    assert facts["began"] <= allowed["runs"][0][1] <= facts["now"]
    assert facts["age"] > 0


@given(
    offset=st.floats(-1e6, 1e6),
    trips=st.lists(
        st.tuples(st.floats(0.0001, 0.5), st.floats(0, 1), st.floats(0, 2)), min_size=1, max_size=20
    ),
    moment=st.floats(0, 10),
)
def test_a_mapped_time_is_right_within_its_error(
    offset: float, trips: list[tuple[float, float, float]], moment: float
) -> None:
    """Whatever part of a round trip the way there takes."""
    clock, now = ClockMap(), 0.0
    for trip, share, pause in trips:
        now += pause
        clock.learn(now, now + trip * share + offset, now + trip)
        now += trip
    assert abs(clock.local(moment + offset) - moment) <= clock.error + 1e-6
    assert clock.error <= min(trip for trip, _, _ in trips[-1:]) / 2 + 1e-6


_STARVED = """
import socket, time
from pytest_cniconformance.probe.agent.loop import Loop, now
from pytest_cniconformance.probe.agent.pace import Pace

loop, server = Loop(), socket.create_server(("127.0.0.1", 0))

async def hog():
    while True:
        time.sleep(0.03)
        await loop.suspend(now())

async def main():
    pace = Pace(loop, "127.0.0.1", server.getsockname()[1], 0.01, 1.0)
    loop.spawn(hog())
    while not pace.runs:
        await loop.suspend(now() + 0.01)
    return pace.runs[0]

began = now()
state, first, *_ = loop.run(main())
print(state, first - began)
"""


def test_an_answer_is_not_dated_before_its_packet_left() -> None:
    """A prober that gets no processor between noting the time and connecting must not date an answer too early."""
    done = subprocess.run([sys.executable, "-c", _STARVED], capture_output=True, text=True, check=True)
    state, seconds = done.stdout.split()
    assert state == "open"
    assert float(seconds) >= 0.03
