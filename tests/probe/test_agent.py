# SPDX-License-Identifier: Apache-2.0
"""The agent's other operations, and that it runs wherever a stock Python image does."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.probe import AgentError, Fleet, ProcessTransport
from pytest_cniconformance.probe.transport import LAUNCHER
from tests.probe.conftest import counters, serve_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.probe.conftest import Network

AGENT = LAUNCHER.parent / "agent"
IMPORT = f"import sys; sys.path.insert(0, {str(LAUNCHER.parent)!r}); import agent.__main__; "
OLD_PYTHONS = ["python3.8", "python3.9", "python3.10", "python3.14"]


@pytest.mark.parametrize("file", [LAUNCHER, *sorted(AGENT.rglob("*.py"))], ids=lambda file: file.name)
def test_agent_is_valid_python_3_8(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 8))


def test_all_of_the_agent_lies_in_one_folder() -> None:
    """Pods get the files of this folder, and of no folder below it."""
    assert {path.parent for path in AGENT.rglob("*.py")} == {AGENT}


def test_agent_imports_only_the_standard_library_and_nothing_slow() -> None:
    code = f"{IMPORT}print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded <= sys.stdlib_module_names | {"__main__", "agent"}
    assert not loaded & {"asyncio", "argparse", "threading", "pathlib", "hashlib", "subprocess", "typing"}


@pytest.mark.parametrize("name", OLD_PYTHONS)
def test_agent_serves_and_probes_on_another_python(name: str) -> None:
    python = shutil.which(name)
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} is not installed")
    server = subprocess.Popen(
        [*serve_command(f"x/{name}", python), "--listen=TCP:0", "--listen=UDP:0"],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        ports = dict(json.loads(server.stdout.readline())["ports"])
        with Fleet() as fleet:
            fleet.add("x/a", lambda: ProcessTransport(identity=f"x/{name}", python=python))
            cells: list[list[Any]] = [["127.0.0.1", port, protocol] for protocol, port in ports.items()]
            cells.append(["127.0.0.1", ports["TCP"], "TCP", {"http": {"method": "POST", "body": "x"}}])
            rows = fleet.request("x/a", "probe", w=1000, cells=cells)["r"]
            assert [row[0] for row in rows] == ["open"] * 3, rows
            host: dict[str, Any] = {"host": "127.0.0.1", "port": ports["TCP"]}
            assert None not in fleet.request("x/a", "rtt", n=5, **host)["samples"]
            assert fleet.request("x/a", "stream", bytes=10**6, **host)["intact"]
            hold = fleet.request("x/a", "hold", interval=5, **host)["hold"]
            assert not fleet.request("x/a", "hold_stop", hold=hold)["ended"]
            assert fleet.request("x/a", "ports")["ports"]
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def run_agent(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{IMPORT}sys.exit(agent.__main__.main(sys.argv[1:]))"
    command = [sys.executable, "-B", "-c", code, *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=20)


def test_agent_ends_when_it_hears_nothing() -> None:
    code = f"{IMPORT}agent.session.IDLE_EXIT = 1; agent.__main__.main(['probe'])"
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert process.wait(20) != 0  # its stdin is still open
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def test_agent_ends_with_its_stdin_and_when_told_to_quit() -> None:
    assert run_agent("probe").returncode == 0
    done = run_agent("probe", stdin='{"id":7,"op":"quit"}\n')
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"id": 7, "bye": True}


@pytest.mark.parametrize(
    "argv", [[], ["dance"], ["serve", "--listen", "TCP:x"], ["serve", "--listen", "XTP:1"]]
)
def test_wrong_arguments_are_told(argv: list[str]) -> None:
    done = run_agent(*argv)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_port_in_use_is_told(network: Network) -> None:
    argv = [*serve_command("x/second"), "--listen", "TCP:80"]
    done = subprocess.run(
        [*network.prefix_argv("b"), *argv], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1
    assert "cannot listen on TCP port 80: Address already in use" in done.stderr


def test_unknown_operation_is_an_error_and_the_session_goes_on(fleet: Fleet) -> None:
    with pytest.raises(AgentError, match="unknown operation 'dance'"):
        fleet.request("x/a", "dance")
    assert fleet.request("x/a", "ping")["pong"] > 0


def test_heartbeat_is_answered_while_a_batch_runs(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 drop")
    session = fleet.session("x/a")
    batch = session.submit("probe", w=1500, cells=[[network.ip("b"), 80, "TCP"]])
    assert session.request("ping")["pong"]
    assert not batch.done()
    assert session.finish(batch, "probe", timeout=20)["r"][0][0] == "dropped"


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_round_trips(network: Network, fleet: Fleet, protocol: str, fresh: bool) -> None:
    answer = fleet.request(
        "x/a", "rtt", host=network.ip("b"), port=80, proto=protocol, n=20, fresh=fresh, size=100
    )
    assert len(answer["samples"]) == 20
    assert all(0 < sample < 1_000_000 for sample in answer["samples"])


def test_lost_round_trips_are_nulls(network: Network, fleet: Fleet) -> None:
    network.filter("udp dport 80 drop")
    answer = fleet.request("x/a", "rtt", host=network.ip("b"), port=80, proto="UDP", n=2, wait=100)
    assert answer["samples"] == [None, None]
    assert answer["error"]


def test_many_connections_are_counted_by_responder_and_cause(network: Network, fleet: Fleet) -> None:
    answer = fleet.request("x/a", "connect_many", host=network.ip("b"), port=80, n=300, w=3000)
    assert answer["responders"] == {"x/b": 300}
    closed = fleet.request("x/a", "connect_many", host=network.ip("b"), port=4444, n=3, w=3000)
    assert closed["verdicts"] == {"refused": 3}
    assert "responders" not in closed or not closed["responders"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_transfer_is_whole(network: Network, fleet: Fleet, direction: str) -> None:
    answer = fleet.request(
        "x/a", "stream", host=network.ip("b"), port=80, bytes=5_000_001, direction=direction
    )
    assert answer["intact"] is True
    assert answer["bytes"] == 5_000_001
    assert answer["responder"] == "x/b"


def test_timed_transfer_counts_what_arrived(network: Network, fleet: Fleet) -> None:
    answer = fleet.request("x/a", "stream", host=network.ip("b"), port=80, seconds=0.2)
    assert answer["intact"] is True
    assert answer["bytes"] > 100_000


def test_counters_show_datagrams_whose_answers_are_dropped(network: Network, fleet: Fleet) -> None:
    """One-way loss: the prober sees silence, the server saw the request."""
    network.filter("udp sport 80 drop")
    before = counters(fleet, "b")["UDP/80"]["requests"]
    row = fleet.request("x/a", "probe", w=300, cells=[[network.ip("b"), 80, "UDP"]])["r"][0]
    assert row[0] == "dropped"
    assert counters(fleet, "b")["UDP/80"]["requests"] - before == 3


def test_free_ports_are_told(network: Network) -> None:
    network.serve("c", "TCP:0", "UDP:0", identity="x/free")
    with Fleet() as fleet:
        fleet.add("x/free", lambda: ProcessTransport(network.prefix_argv("c"), identity="x/free"))
        ports = dict(fleet.request("x/free", "ports")["ports"])
        assert set(ports) == {"TCP", "UDP"}
        rows = fleet.request("x/free", "probe", w=1000, cells=[["::1", p, n] for n, p in ports.items()])["r"]
        assert [row[0] for row in rows] == ["open", "open"]


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_held_flow_notices_an_outage_and_its_end(network: Network, fleet: Fleet, protocol: str) -> None:
    session = fleet.session("x/a")
    hold = session.request("hold", host=network.ip("b"), port=80, proto=protocol, interval=10, patience=100)[
        "hold"
    ]

    def wait_for(state: str) -> dict[str, Any]:
        end = monotonic() + 20
        while monotonic() < end:
            status = session.request("hold_status", hold=hold)
            if status["events"] and status["events"][-1][1] == state:
                return status
        raise AssertionError(status)

    wait_for("up")
    network.filter(f"ip daddr {network.ip('b')} drop")
    wait_for("down")
    network.filter()
    wait_for("up")
    status = session.request("hold_stop", hold=hold)
    assert [event[1] for event in status["events"]] == ["up", "down", "up"]
    assert not status["ended"] and status["last"] == "x/b"


def test_held_fresh_connections_count_responders(network: Network, fleet: Fleet) -> None:
    session = fleet.session("x/a")
    hold = session.request("hold", host=network.ip("b"), port=80, fresh=True, interval=5)["hold"]
    end = monotonic() + 20
    while monotonic() < end:
        if session.request("hold_status", hold=hold)["answered"] >= 3:
            break
    status = session.request("hold_stop", hold=hold)
    assert status["responders"]["x/b"] >= 3 and status["last"] == "x/b"
    assert status["up"]


def test_held_flow_to_a_name_is_refused_with_its_reason(fleet: Fleet) -> None:
    with pytest.raises(AgentError, match="needs an IP address, not 'web'"):
        fleet.request("x/a", "hold", host="web", port=80)


def test_a_server_that_comes_late_is_waited_for(network: Network, fleet: Fleet) -> None:
    """A pod is asked as soon as its container runs; on a busy node its server comes after that."""
    with pytest.raises(AgentError, match="does not run"):
        fleet.request("x/a", "ports", identity="x/late", wait=100)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fleet.request, "x/a", "ports", identity="x/late", wait=10_000)
        network.serve("a", "TCP:8100", identity="x/late")
        assert asked.result(10)["ports"] == [["TCP", 8100]]
