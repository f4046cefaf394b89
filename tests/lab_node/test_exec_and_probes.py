# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ASYNC110, ISC004
"""Commands in containers, logs, and probes from the node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.lab.api.seams import ContainerNotFound
from tests.lab_node.bench import Bench, is_ready, on_bench

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj


def _server(status: int) -> list[str]:
    return [
        "python3",
        "-c",
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        f"  def do_GET(s): s.send_response({status}); s.end_headers()\n"
        "h.HTTPServer(('', 8080), A).serve_forever()",
    ]


def test_exec_keeps_streams_and_exit_code_apart() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        assert await bench.exec("p", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
        assert await bench.exec("p", "cat", stdin=b"x" * 300_000) == (0, b"x" * 300_000, b"")
        assert await bench.exec("p", "cat") == (0, b"", b"")
        code, _, err = await bench.exec("p", "no-such-program")
        assert code == 127 and b"executable file not found in $PATH" in err
        assert (await bench.exec("p", "sh", "-c", "kill -9 $$"))[0] == 137
        assert await bench.exec("p", "true", stdin=b"unread" * 100_000) == (0, b"", b"")

    on_bench(check)


def test_exec_ends_although_a_background_child_keeps_the_output_open() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        async with asyncio.timeout(5):
            assert (await bench.exec("p", "sh", "-c", "sleep 100 & echo done"))[:2] == (0, b"done\n")

    on_bench(check)


def test_cancelling_exec_kills_the_command() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        task = asyncio.create_task(bench.exec("p", "sleep", "4242"))
        while b"4242" not in (await bench.exec("p", "ps", "ax"))[1]:
            await asyncio.sleep(0.01)
        task.cancel()
        while b"4242" in (await bench.exec("p", "ps", "ax"))[1]:
            await asyncio.sleep(0.01)

    on_bench(check)


def test_exec_into_something_that_does_not_run() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p", ["true"], restartPolicy="Never")
        await bench.finished("p")
        with pytest.raises(ContainerNotFound, match="not running"):
            await bench.exec("p", "true")

    on_bench(check)


def test_many_execs_at_once() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        results = await asyncio.gather(*(bench.exec("p", "echo", str(number)) for number in range(50)))
        assert [out for _, out, _ in results] == [f"{number}\n".encode() for number in range(50)]

    on_bench(check)


def test_logs_follow_tail_and_are_bounded() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p", ["sh", "-c", "seq 3; printf no-newline; sleep 1000"])
        bench.pod(
            "loud",
            ["sh", "-c", "yes a long line that says the same again and again | head -c 4000000; sleep 1000"],
        )
        await bench.ready("p", "loud")
        seen = b""
        async with asyncio.timeout(5):
            async for chunk in bench.agents.logs(bench.get("p"), "main", follow=True):
                seen += chunk
                if b"3\n" in seen:
                    break
        assert seen == b"1\n2\n3\n"
        assert await bench.log("p", tail=2) == "2\n3\n"
        async with asyncio.timeout(5):
            while len(await bench.log("loud")) < 250_000:
                await asyncio.sleep(0.01)
        assert len(await bench.log("loud")) <= 1 << 20

    on_bench(check)


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"port": "web", "path": "/"}},
        {"tcpSocket": {"port": 8080}},
        {
            "exec": {
                "command": ["python3", "-c", "import socket; socket.create_connection(('localhost', 8080))"]
            }
        },
    ],
    ids=["http", "tcp", "exec"],
)
def test_readiness_comes_fast_with_every_kind_of_probe(probe: Obj) -> None:
    async def check(bench: Bench) -> None:
        ports = [{"name": "web", "containerPort": 8080}]
        bench.pod(
            "p", _server(200), container={"ports": ports, "readinessProbe": {"periodSeconds": 10, **probe}}
        )
        await bench.ready("p", timeout=5)

    on_bench(check)


def test_an_unready_pod_stays_unready_and_says_why() -> None:
    async def check(bench: Bench) -> None:
        probe = {"httpGet": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
        bench.pod("p", _server(503), container={"readinessProbe": probe})
        while not any("statuscode: 503" in event["message"] for event in bench.events("Unhealthy")):
            await asyncio.sleep(0.02)
        assert not is_ready(bench.get("p"))

    on_bench(check)


def test_a_failing_liveness_probe_restarts_the_container() -> None:
    async def check(bench: Bench) -> None:
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
        bench.pod("p", ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"],
                  container={"livenessProbe": probe})  # fmt: skip

        def restarted(pod: Obj | None) -> bool:
            return bool(pod and any(c["restartCount"] for c in pod["status"].get("containerStatuses") or []))

        await bench.until("p", restarted)
        assert any(
            "liveness probe, will be restarted" in event["message"] for event in bench.events("Killing")
        )

    on_bench(check)


def test_readiness_gates_hold_a_pod_back() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p", readinessGates=[{"conditionType": "lab/open"}])

        def containers_ready(pod: Obj | None) -> bool:
            conditions = ((pod or {}).get("status") or {}).get("conditions") or []
            return any(c["type"] == "ContainersReady" and c["status"] == "True" for c in conditions)

        await bench.until("p", containers_ready)
        assert not is_ready(bench.get("p"))

        def open_gate(pod: Obj) -> None:
            pod["status"]["conditions"].append({"type": "lab/open", "status": "True"})

        bench.store.modify("pods", "default", "p", open_gate, subresource="status")
        await bench.ready("p")

    on_bench(check)


def test_the_pre_stop_hook_runs_before_the_end() -> None:
    async def check(bench: Bench) -> None:
        hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}}}
        bench.pod("p", container={"lifecycle": hook})
        await bench.ready("p")
        log = bench.agents.logs(bench.get("p"), "main", follow=True)
        bench.store.delete("pods", "default", "p")
        async with asyncio.timeout(5):
            assert await anext(log) == b"stopping\n"
        await bench.until("p", lambda pod: pod is None)

    on_bench(check)
