# SPDX-License-Identifier: Apache-2.0
"""A deny is never inferred from a prober or a server that failed: frozen, starved, killed, or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.probe import Fleet, PodMatrix, Target, Window

if TYPE_CHECKING:
    from tests.probe.conftest import Network

WINDOW = Window(0.3)


def matrix_of(network: Network, fleet: Fleet) -> PodMatrix:
    targets = {f"x/{pod}": Target.pod(f"x/{pod}", {"ipv4": network.ip(pod)}) for pod in network.pods}
    return PodMatrix(fleet, targets, window=WINDOW)


def test_dead_server_behind_a_drop_is_a_probe_error_that_names_it(network: Network, fleet: Fleet) -> None:
    network.filter(f"ip daddr {network.ip('b')} drop")
    cells = {port: Cell("x/a", "x/b", port) for port in (80, 8888)}
    observed = matrix_of(network, fleet).observe(cells.values())
    assert observed[cells[80]].verdict is Verdict.DROPPED
    dead = observed[cells[8888]]
    assert dead.verdict is Verdict.PROBE_ERROR, dead
    assert "the server of x/b on 8888/TCP is dead" in dead.cause
    assert "refused" in dead.cause


def test_refusal_by_a_dead_server_is_a_probe_error(network: Network, fleet: Fleet) -> None:
    cell = Cell("x/a", "x/b", 8888, Protocol.UDP)
    found = matrix_of(network, fleet).observe([cell])[cell]
    assert found.verdict is Verdict.PROBE_ERROR
    assert "seemed refused" in found.cause


def test_a_server_behind_a_service_is_proved_where_it_listens_itself(network: Network, fleet: Fleet) -> None:
    network.filter(f"ip daddr {network.ip('b')} drop")
    own = {"ipv4": network.ip("b")}
    cell = Cell("x/a", "y/svc:b", 81)
    found = {}
    for number in (80, 8888):  # what serves, and what does not
        behind = {(81, Protocol.TCP): number}
        target = Target(own, responder="x/b", prover="x/b", own=own, own_ports=behind)
        found[number] = PodMatrix(fleet, {"y/svc:b": target}, window=WINDOW).observe([cell])[cell]
    assert found[80].verdict is Verdict.DROPPED, found[80]
    assert found[8888].verdict is Verdict.PROBE_ERROR, found[8888]
    assert "is dead" in found[8888].cause


def test_server_that_dies_during_the_round_is_found_out(network: Network, fleet: Fleet) -> None:
    server = network.serve("b", "TCP:7000", identity="x/mortal")
    network.filter(f"ip daddr {network.ip('b')} drop")
    target = Target({"ipv4": network.ip("b")}, responder="x/mortal", prover="x/b")
    matrix = PodMatrix(fleet, {"x/mortal": target}, window=WINDOW)
    cell = Cell("x/a", "x/mortal", 7000)
    assert matrix.observe([cell])[cell].verdict is Verdict.DROPPED
    timer = threading.Timer(0.1, network.stop, [server])
    timer.start()
    found = matrix.observe([cell])[cell]
    timer.join()
    assert found.verdict is Verdict.PROBE_ERROR, found


def test_denial_by_a_destination_without_an_agent_says_that_nobody_vouches(
    network: Network, fleet: Fleet
) -> None:
    network.filter("tcp dport 80 drop")
    cell = Cell("x/a", network.ip("b"), 80)
    found = matrix_of(network, fleet).observe([cell])[cell]
    assert found.verdict is Verdict.DROPPED
    assert found.extra["vouched"] is False


class Freezer:
    """Stops a process again and again, longer than a starved loop may lag."""

    def __init__(self, pid: int, run: float, stop: float) -> None:
        self.pid, self.run, self.stop = pid, run, stop
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while not self.over.wait(self.run):
            os.kill(self.pid, signal.SIGSTOP)
            self.over.wait(self.stop)
            os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


SLOW_ANSWER = """
import json, socket, threading
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 9100))
print("ready", flush=True)
def answer(data, address):
    threading.Event().wait(0.2)
    sock.sendto(json.dumps({"n": json.loads(data)["n"], "i": "x/b", "p": "", "b": 0}).encode() + b"\\n", address)
while True:
    threading.Thread(target=answer, args=sock.recvfrom(2000)).start()
"""


def test_prober_frozen_past_its_window_still_sees_what_was_answered(network: Network, fleet: Fleet) -> None:
    network.python("b", SLOW_ANSWER)
    pid = fleet.open(["x/a"])["x/a"].pid
    with Freezer(pid, 0.05, 0.6):
        found = fleet.probe([Probe("x/a", network.ip("b"), 9100, Protocol.UDP)], window=WINDOW)[0]
    assert found.verdict is Verdict.OPEN, found


def test_prober_frozen_all_the_time_reports_no_drop(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 drop")
    pid = fleet.open(["x/a"])["x/a"].pid
    with Freezer(pid, 0.04, 0.5):
        found = fleet.probe([Probe("x/a", network.ip("b"), 80)], window=WINDOW)[0]
    assert found.verdict is Verdict.PROBE_ERROR, found
    assert "starved" in found.cause or "control probe" in found.cause


def test_prober_frozen_once_probes_again_before_it_calls_a_drop(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 drop")
    session = fleet.session("x/a")
    future = session.submit("probe", w=300, cells=[[network.ip("b"), 80, "TCP"]])
    pid = session.open().pid
    os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(0.5)
    os.kill(pid, signal.SIGCONT)
    answer = session.finish(future, "probe", timeout=20)
    assert answer["r"][0][0] == "dropped"
    if len(answer["rounds"]) > 1:  # else it was stopped before it had begun
        assert "starved" in answer["rounds"][0]["doubt"]
        assert answer["rounds"][-1]["w"] > 300


def test_busy_processors_make_no_false_drop(network: Network, fleet: Fleet) -> None:
    """Two spinning processes per core: open stays open, or is admitted to be unknown."""
    spinners = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        cells = [
            Cell(f"x/{a}", f"x/{b}", port, protocol)
            for a in network.pods
            for b in network.pods
            for port, protocol in ((80, Protocol.TCP), (81, Protocol.TCP), (80, Protocol.UDP))
        ]
        matrix = matrix_of(network, fleet)
        for _ in range(10):
            denied = {str(c): str(o) for c, o in matrix.observe(cells).items() if o.verdict.denied}
            assert not denied
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def test_killed_agent_is_started_anew_and_asked_again(network: Network, fleet: Fleet) -> None:
    network.filter("tcp dport 80 drop")
    session = fleet.session("x/a")
    pid = session.open().pid
    timer = threading.Timer(0.05, os.kill, [pid, signal.SIGKILL])
    timer.start()
    found = fleet.probe([Probe("x/a", network.ip("b"), 80)], window=WINDOW)[0]
    timer.join()
    assert found.verdict is Verdict.DROPPED, found
    assert session.starts == 2
    assert session.open().pid != pid


def test_agent_that_cannot_be_started_again_is_a_probe_error_for_its_cells_only(
    network: Network, fleet: Fleet
) -> None:
    def gone() -> None:
        raise OSError("the pod is gone")

    fleet.add("x/gone", gone)  # type: ignore[arg-type]
    probes = [Probe(source, network.ip("b"), 80) for source in ("x/gone", "x/a", "x/unknown")]
    gone_one, good, unknown = fleet.probe(probes, window=WINDOW)
    assert gone_one.verdict is Verdict.PROBE_ERROR
    assert "the pod is gone" in gone_one.cause
    assert good.verdict is Verdict.OPEN
    assert unknown.verdict is Verdict.PROBE_ERROR
