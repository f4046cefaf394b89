# SPDX-License-Identifier: Apache-2.0
"""HTTP from where pytest runs has the same verdicts as from a pod."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.model.verdict import Verdict
from pytest_cniconformance.probe.external import http_probe
from tests.probe.conftest import serve_command

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def agent_url() -> Iterator[str]:
    argv = [*serve_command("x/web"), "--http", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["ports"][0][1]
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
def test_open(agent_url: str, method: str) -> None:
    found = http_probe(f"{agent_url}/path", method=method, body="x" if method == "POST" else None)
    assert (found.verdict, found.responder, found.http_status) == (Verdict.OPEN, "x/web", 200)
    assert found.peer_seen.startswith("127.0.0.1:")
    assert found.latency_ms is not None


def test_wrong_responder(agent_url: str) -> None:
    found = http_probe(agent_url, expect_responder="x/other")
    assert found.verdict is Verdict.PROBE_ERROR
    assert found.cause == "answered by x/web, not by x/other"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(403, Verdict.HTTP_DENIED), (404, Verdict.OPEN), (503, Verdict.PROBE_ERROR)],
)
def test_status_of_an_intermediary(status: int, verdict: Verdict) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found = http_probe(f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join()
    assert (found.verdict, found.http_status) == (verdict, status)


def test_closed_port_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening: nobody else can take the port
        found = http_probe(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert (found.verdict, found.attempts) == (Verdict.REFUSED, 3)


def test_silence_is_dropped_and_says_that_nobody_vouches() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = http_probe(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.1)
    assert (found.verdict, found.attempts) == (Verdict.DROPPED, 3)
    assert found.extra["vouched"] is False


def test_server_that_closes_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_all() -> None:
            for _ in range(3):
                listener.accept()[0].close()

        thread = threading.Thread(target=close_all)
        thread.start()
        found = http_probe(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    assert found.verdict is Verdict.REFUSED
    assert "after accept" in found.cause


def test_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert http_probe("http://nobody.invalid/").verdict is Verdict.DNS_FAILED
