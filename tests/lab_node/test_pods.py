# SPDX-License-Identifier: Apache-2.0
"""The life of a pod on a node: start, status, restarts, end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.seams import DataplaneError
from tests.lab_node.bench import ASKED_BY, Bench, on_bench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.dataplane.seams import PodNet


def _conditions(pod: Obj) -> dict[str, str]:
    return {c["type"]: c["status"] for c in pod["status"]["conditions"]}


def test_a_pod_becomes_ready_and_its_status_is_complete() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("a")
        await bench.ready("a")
        status = bench.get("a")["status"]
        assert status["phase"] == "Running"
        assert status["podIP"] == "10.244.1.2" and status["podIPs"] == [{"ip": "10.244.1.2"}]
        assert status["hostIP"] == "172.30.1.1"
        assert _conditions(bench.get("a")) == dict.fromkeys(
            ("PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"), "True"
        )
        (container,) = status["containerStatuses"]
        assert container["ready"] and container["started"] and "running" in container["state"]
        assert container["containerID"].startswith("lab://")
        assert [len(bench.events(reason)) for reason in ("Pulled", "Created", "Started")] == [1, 1, 1]

    on_bench(check)


def test_twenty_pods_arrive_in_few_batches() -> None:
    async def check(bench: Bench) -> None:
        began = time.monotonic()
        for number in range(20):
            bench.pod(f"p{number}")
        await bench.ready(*(f"p{number}" for number in range(20)))
        assert len(bench.network.batches) <= 3
        addresses = {bench.get(f"p{number}")["status"]["podIP"] for number in range(20)}
        assert len(addresses) == 20
        print(f"20 pods in {time.monotonic() - began:.2f} s")

    on_bench(check)


def test_pods_reach_each_other_over_the_network() -> None:
    async def check(bench: Bench) -> None:
        server = (
            "import socket\ns = socket.create_server(('', 80))\nwhile True: s.accept()[0].sendall(b'hello')"
        )
        bench.pod(
            "server", ["python3", "-c", server], container={"readinessProbe": {"tcpSocket": {"port": 80}}}
        )
        bench.pod("client", node=2)
        await bench.ready("server", "client")
        ip = bench.get("server")["status"]["podIP"]
        client = f"import socket; print(socket.create_connection(('{ip}', 80), 2).recv(9).decode())"
        assert await bench.exec("client", "python3", "-c", client) == (0, b"hello\n", b"")

    on_bench(check, nodes=2)


def test_completed_and_failed_pods_keep_their_exit_codes() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("good", ["true"], restartPolicy="Never")
        bench.pod("bad", ["sh", "-c", "echo why > /dev/termination-log; exit 3"], restartPolicy="Never")
        assert (await bench.finished("good"))["status"]["phase"] == "Succeeded"
        bad = await bench.finished("bad")
        assert bad["status"]["phase"] == "Failed"
        state = bad["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (state["exitCode"], state["reason"], state["message"]) == (3, "Error", "why\n")
        assert _conditions(bad)["Ready"] == "False"

    on_bench(check)


def test_a_crashing_container_restarts_at_once_and_then_backs_off() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("crash", ["sh", "-c", "echo run; exit 1"])

        def backing_off(pod: Obj | None) -> bool:
            assert pod is not None
            state = (pod["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]
            return bool(state.get("waiting", {}).get("reason") == "CrashLoopBackOff")

        pod = await bench.until("crash", backing_off)
        assert pod is not None
        status = pod["status"]["containerStatuses"][0]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 1
        assert await bench.log("crash") == "run\n"
        assert await bench.log("crash", previous=True) == "run\n"
        assert bench.events("BackOff")

    on_bench(check)


def test_a_command_that_does_not_exist_is_reported_like_the_real_thing() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("lost", ["no-such-program"])

        def waits(pod: Obj | None) -> bool:
            assert pod is not None
            state = (pod["status"].get("containerStatuses") or [{"state": {}}])[0]["state"].get("waiting", {})
            return (
                state.get("reason") == "RunContainerError" and "executable file not found" in state["message"]
            )

        await bench.until("lost", waits)

    on_bench(check)


def test_init_containers_run_in_order_before_the_others_and_sidecars_stay() -> None:
    async def check(bench: Bench) -> None:
        mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        bench.pod(
            "ordered",
            ["sh", "-c", "cat /data/log; sleep 1000"],
            container=mount,
            volumes=[{"name": "data", "emptyDir": {}}],
            initContainers=[
                {"name": "one", "image": "x", "command": ["sh", "-c", "echo one >> /data/log"], **mount},
                {
                    "name": "side",
                    "image": "x",
                    "restartPolicy": "Always",
                    "command": ["sh", "-c", "echo side >> /data/log; exec sleep 1000"],
                    "startupProbe": {"exec": {"command": ["grep", "side", "/data/log"]}},
                    **mount,
                },
                {"name": "two", "image": "x", "command": ["sh", "-c", "echo two >> /data/log"], **mount},
            ],
        )
        await bench.ready("ordered")
        pod = bench.get("ordered")
        assert [c["name"] for c in pod["status"]["initContainerStatuses"]] == ["one", "side", "two"]
        async with asyncio.timeout(5):
            async for chunk in bench.agents.logs(pod, "main", follow=True):
                assert chunk.decode().split() == ["one", "side", "two"]
                break

    on_bench(check)


def test_deletion_lets_the_container_finish_and_kills_what_does_not() -> None:
    async def check(bench: Bench) -> None:
        script = "trap 'sleep 0.2; exit 0' TERM; touch /tmp/up; while :; do sleep 0.05; done"
        probe = {"readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}}}
        bench.pod("polite", ["sh", "-c", script], terminationGracePeriodSeconds=30, container=probe)
        bench.pod("stubborn", ["sleep", "1000"], terminationGracePeriodSeconds=1)
        await bench.ready("polite", "stubborn")
        began = time.monotonic()
        bench.store.delete("pods", "default", "polite")
        bench.store.delete("pods", "default", "stubborn")
        await bench.until("polite", lambda pod: pod is None)
        assert time.monotonic() - began < 5
        await bench.until("stubborn", lambda pod: pod is None)
        assert time.monotonic() - began >= 1
        code, out, _ = await bench.runner.run(["ip", "netns"])
        assert (code, out.split()[:1]) == (0, [b"lab-worker1"])

    on_bench(check)


def test_forced_deletion_is_immediate() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("stubborn", terminationGracePeriodSeconds=600)
        await bench.ready("stubborn")
        bench.store.delete("pods", "default", "stubborn")
        bench.store.delete("pods", "default", "stubborn", grace=0)
        await bench.until("stubborn", lambda pod: pod is None)

    on_bench(check)


def test_a_pod_goes_by_the_grace_of_its_first_deletion() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("stubborn", terminationGracePeriodSeconds=3)
        await bench.ready("stubborn")
        began = asyncio.get_running_loop().time()
        bench.store.delete("pods", "default", "stubborn")
        bench.store.delete("pods", "default", "stubborn", grace=1)
        assert bench.get("stubborn")["metadata"]["deletionGracePeriodSeconds"] == 1
        await bench.until("stubborn", lambda pod: pod is None)
        assert asyncio.get_running_loop().time() - began > 2.5

    on_bench(check)


def test_addresses_are_not_used_again_at_once() -> None:
    async def check(bench: Bench) -> None:
        seen = []
        for _ in range(3):
            bench.pod("again")
            await bench.ready("again")
            seen.append(bench.get("again")["status"]["podIP"])
            bench.store.delete("pods", "default", "again", grace=0)
            await bench.until("again", lambda pod: pod is None)
        assert len(set(seen)) == 3

    on_bench(check)


def test_pods_deleted_while_they_start_leave_no_network_behind() -> None:
    async def check(bench: Bench) -> None:
        for number in range(10):
            bench.pod(f"p{number}", metadata={"labels": {"n": str(number)}})
        for turn in range(10):
            await asyncio.sleep(0.005 * (turn % 3))
            bench.store.delete("pods", "default", f"p{turn}", grace=turn % 2)
        for number in range(10):
            await bench.until(f"p{number}", lambda pod: pod is None)
        async with asyncio.timeout(5):
            while True:
                _, out, _ = await bench.runner.run(["ip", "netns"])
                if [line.split()[0] for line in out.splitlines()] == [b"lab-worker1"]:
                    break

    on_bench(check)


def test_a_pod_whose_network_fails_is_tried_again_and_does_not_hold_up_others() -> None:
    async def check(bench: Bench) -> None:
        connect = bench.network.pods_added
        failures: list[int] = []

        async def sometimes(node: str, pods: Sequence[PodNet]) -> None:
            if any(pod.name == "bad" for pod in pods) and len(failures) < 3:
                failures.append(len(pods))
                raise DataplaneError("no luck")
            await connect(node, pods)

        bench.network.pods_added = sometimes  # type: ignore[method-assign]
        bench.pod("good")
        bench.pod("bad")
        await bench.ready("good", "bad")
        assert bench.events("FailedCreatePodSandBox")

    on_bench(check)


def test_a_finished_pod_gives_its_address_to_the_next_one_that_asks() -> None:
    """The sandbox ends with the containers, the object stays; an address that is taken is waited for."""

    def asking(ip: str) -> Obj:
        return {"annotations": {ASKED_BY: f'["{ip}"]'}}

    async def check(bench: Bench) -> None:
        bench.pod("first", ["true"], restartPolicy="Never")
        assert (await bench.finished("first"))["status"]["podIP"] == "10.244.1.2"
        bench.pod("next", metadata=asking("10.244.1.2"))
        await bench.ready("next")
        assert bench.get("next")["status"]["podIP"] == "10.244.1.2"
        bench.pod("late", metadata=asking("10.244.1.2"))
        await bench.until("late", lambda _: bench.events("FailedCreatePodSandBox"))
        bench.store.delete("pods", "default", "next", grace=0)
        await bench.ready("late")
        assert bench.get("late")["status"]["podIP"] == "10.244.1.2"
        bench.store.delete("pods", "default", "first", grace=0)
        await bench.until("first", lambda pod: pod is None)

    on_bench(check)
