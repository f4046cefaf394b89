# SPDX-License-Identifier: Apache-2.0
"""A session survives one lost stream, keeps idle streams alive, and never mistakes silence for an answer."""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.probe import (
    AgentError,
    AgentSession,
    ExecTransport,
    Fleet,
    ProcessTransport,
    SessionLost,
    TransportClosed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HELLO = {
    "hello": "cniconformance-agent",
    "identity": "x/a",
    "ips": ["10.0.0.1"],
    "protocols": ["TCP"],
    "python": "3.13.0",
    "kernel": "6",
    "pid": 7,
}


class Script:
    """A transport whose agent is a function: request in, lines out; None closes the stream."""

    def __init__(self, agent: Callable[[dict[str, Any]], list[Any] | None], first: Any = HELLO) -> None:
        self.agent = agent
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.sent: list[dict[str, Any]] = []
        self.closed = threading.Event()
        if first is not None:
            self.lines.put(first if isinstance(first, bytes) else json.dumps(first).encode())

    def send(self, line: bytes) -> None:
        if self.closed.is_set():
            raise TransportClosed("the stream was cut")
        request = json.loads(line)
        self.sent.append(request)
        answers = self.agent(request)
        if answers is None:
            self.lines.put(None)
        else:
            for answer in answers:
                self.lines.put(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def recv(self, timeout: float) -> bytes | None:
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            raise TransportClosed("the stream was cut")
        return line

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self.lines.put(None)


def echo(request: dict[str, Any]) -> list[Any]:
    return [{"id": request["id"], "echo": request["op"]}]


def test_answers_find_their_request_in_any_order() -> None:
    held: list[dict[str, Any]] = []

    def agent(request: dict[str, Any]) -> list[Any]:
        held.append(request)
        return [] if len(held) < 3 else [{"id": r["id"], "echo": r["op"]} for r in reversed(held)]

    session = AgentSession("x/a", lambda: Script(agent))
    futures = [session.submit(op) for op in ("one", "two", "three")]
    assert [future.result(5)["echo"] for future in futures] == ["one", "two", "three"]
    session.close()


def test_noise_in_the_stream_is_passed_over() -> None:
    script = Script(lambda r: [b"warning: something", b"[1]", {"id": 999}, *echo(r)], first=b"motd")
    script.lines.put(json.dumps(HELLO).encode())
    session = AgentSession("x/a", lambda: script)
    assert session.request("a")["echo"] == "a"
    session.close()


def test_lost_stream_is_opened_again_and_the_request_repeated() -> None:
    scripts = [Script(lambda r: None), Script(echo)]
    session = AgentSession("x/a", lambda: scripts[session.starts])
    assert session.request("a")["echo"] == "a"
    assert session.starts == 2
    assert scripts[0].closed.is_set()
    session.close()


def test_stream_that_is_lost_twice_is_an_error_that_says_why() -> None:
    session = AgentSession("x/a", lambda: Script(lambda r: None))
    with pytest.raises(SessionLost, match="x/a: the stream was cut"):
        session.request("a")
    assert session.starts == 2
    session.close()


def test_stream_lost_while_idle_is_opened_again_by_the_next_request() -> None:
    scripts = [Script(echo), Script(echo)]
    session = AgentSession("x/a", lambda: scripts[session.starts])
    session.open()
    scripts[0].close()
    assert session.request("a")["echo"] == "a"
    session.close()


def test_agent_that_does_not_greet_is_an_error() -> None:
    session = AgentSession("x/a", lambda: Script(echo, first=None), open_timeout=0.05)
    with pytest.raises(SessionLost, match="did not greet"):
        session.open()


def test_agent_that_does_not_answer_is_an_error_and_not_asked_again() -> None:
    script = Script(lambda r: [])
    session = AgentSession("x/a", lambda: script)
    with pytest.raises(SessionLost, match=r"no answer to 'a' within 0\.05 s"):
        session.request("a", timeout=0.05)
    assert len(script.sent) == 1
    session.close()


def test_error_of_the_agent_is_raised_with_its_words() -> None:
    session = AgentSession("x/a", lambda: Script(lambda r: [{"id": r["id"], "error": "ValueError: no"}]))
    with pytest.raises(AgentError, match="x/a: ValueError: no"):
        session.request("a")
    session.close()


def test_idle_stream_gets_heartbeats_and_a_deaf_agent_is_given_up() -> None:
    lively = Script(echo)
    session = AgentSession("x/a", lambda: lively, heartbeat=0.01)
    session.open()
    while len(lively.sent) < 10:
        assert not lively.closed.wait(0.005), "a lively agent was given up"
    session.close()

    deaf = Script(lambda r: [])
    session = AgentSession("x/b", lambda: deaf, heartbeat=0.01)
    session.open()
    assert deaf.closed.wait(10)
    assert {request["op"] for request in deaf.sent} == {"ping"}
    session.close()


def test_closed_session_stays_closed() -> None:
    session = AgentSession("x/a", lambda: Script(echo))
    session.open()
    session.close()
    with pytest.raises(SessionLost, match="closed"):
        session.request("a")


def test_fleet_opens_all_agents_at_once() -> None:
    barrier = threading.Barrier(3)

    def slow() -> Script:
        barrier.wait(10)  # passes only if all three are being opened together
        return Script(echo)

    with Fleet() as fleet:
        for name in "abc":
            fleet.add(name, slow)
        assert set(fleet.open()) == {"a", "b", "c"}
        answers = fleet.request_all({name: ("op", {"n": 1}) for name in "abc"}, timeout=5)
        assert all(not isinstance(answer, Exception) for answer in answers.values())


def test_fleet_refuses_two_probers_of_one_name_and_names_the_unknown() -> None:
    with Fleet(timeouts=Timeouts()) as fleet:
        fleet.add("a", lambda: Script(echo))
        with pytest.raises(ValueError, match="already"):
            fleet.add("a", lambda: Script(echo))
        with pytest.raises(Exception, match="no prober named b; there are a"):
            fleet.request("b", "ping")
        with pytest.raises(ValueError, match="no Kubernetes client"):
            fleet.add_pod("x", "a")


def test_process_that_dies_tells_its_last_words() -> None:
    transport = ProcessTransport(argv=[sys.executable, "-c", "import sys; sys.exit('no such thing')"])
    with pytest.raises(TransportClosed, match=r"exit code 1: no such thing|is gone"):
        while transport.recv(10) is not None:
            pass
    transport.close()


def test_process_that_cannot_start_is_told() -> None:
    session = AgentSession("outside", lambda: ProcessTransport(["/nonexistent/nsenter"], identity="outside"))
    with pytest.raises(SessionLost, match="cannot start the agent of outside: /nonexistent/nsenter"):
        session.open()


def test_long_lines_pass_whole_in_both_directions() -> None:
    with Fleet() as fleet:
        fleet.add("runner", ProcessTransport)
        cells = [["127.0.0.1", 9, "TCP", {"x": "y" * 1000, "t": False}]] * 500
        rows = fleet.request("runner", "probe", w=300, cells=cells)["r"]
        assert len(rows) == 500


class FakeExec:
    """An exec stream with scripted output."""

    def __init__(self, chunks: list[bytes | None], stderr: bytes = b"", code: int | None = None) -> None:
        self.chunks: Iterator[bytes | None] = iter(chunks)
        self.stderr = stderr
        self.exit_code = code
        self.sent = b""

    def send(self, data: bytes, /) -> None:
        self.sent += data

    def recv(self, timeout: float, /) -> bytes | None:
        return next(self.chunks, None)

    def close(self) -> None:
        pass


class FakeKube:
    def __init__(self, stream: FakeExec) -> None:
        self.stream = stream
        self.argv: list[str] = []

    def open_exec(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str | None = None
    ) -> FakeExec:
        self.argv = list(argv)
        return self.stream


def test_exec_transport_joins_chunks_to_lines() -> None:
    kube = FakeKube(FakeExec([b'{"a"', b":1}\n{", None, b'"b":2}\n']))
    transport = ExecTransport(kube, "x", "a")
    assert kube.argv[-3:] == ["probe", "--identity", "x/a"]
    assert transport.recv(1) == b'{"a":1}'
    assert transport.recv(1) == b'{"b":2}'
    transport.send(b"hello\n")
    assert kube.stream.sent == b"hello\n"


def test_exec_transport_tells_how_the_command_ended() -> None:
    stream = FakeExec([b"half a li", b""], stderr=b"python3: can't open file", code=2)
    transport = ExecTransport(FakeKube(stream), "x", "a")
    with pytest.raises(TransportClosed, match="pod x/a ended; exit code 2; python3: can't open file"):
        transport.recv(1)
