# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ASYNC109
"""A node without an API server: a store, a zygote and kubelets on a plain bridge, in throw-away namespaces."""

from __future__ import annotations

import asyncio
import os
import shutil
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.lab.api.store import Store
from pytest_cniconformance.lab.dataplane.addressing import Plan
from pytest_cniconformance.lab.node import syscalls
from pytest_cniconformance.lab.node.addresses import Allocator
from pytest_cniconformance.lab.node.agents import Agents
from pytest_cniconformance.lab.node.context import Cluster
from pytest_cniconformance.lab.node.kubelet import Kubelet
from pytest_cniconformance.lab.node.netns import NetnsSockets
from pytest_cniconformance.lab.node.rootfs import container_path
from pytest_cniconformance.lab.node.runner import ZygoteRunner
from pytest_cniconformance.lab.node.zygote import fork_zygote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.dataplane.seams import PodNet

_NAMESPACES = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


ASKED_BY = "example.org/addresses"


class PlainBridge:
    """The smallest dataplane: every node a namespace, every pod a veth on one bridge."""

    def __init__(self, runner: ZygoteRunner, plan: Plan) -> None:
        self._runner, self._plan = runner, plan
        self.batches: list[int] = []

    async def start(self) -> None:
        lines = [
            "link add br0 type bridge",
            "link set br0 up",
            "addr add 10.244.0.1/16 dev br0",
            "link set lo up",
        ]
        for node in self._plan.nodes:
            lines += self._attach(node.name, node.underlay("ipv4"), f"n{node.index}")
        await self._ip(lines)
        for node in self._plan.nodes:
            await self._enter(node.name, [node.underlay("ipv4")])

    async def pods_added(self, node: str, pods: Sequence[PodNet]) -> None:
        self.batches.append(len(pods))
        own = [pod for pod in pods if not pod.host_network]
        await self._ip([line for pod in own for line in self._attach(pod.netns, pod.ip, f"v{pod.uid[:10]}")])
        for pod in own:
            await self._enter(pod.netns, [pod.ip])

    async def pods_removed(self, node: str, pods: Sequence[PodNet]) -> None:
        await self._ip([f"netns delete {pod.netns}" for pod in pods if not pod.host_network])

    def _attach(self, netns: str, ip: str, link: str) -> list[str]:
        return [
            f"netns add {netns}",
            f"link add {link} type veth peer name eth0 netns {netns}",
            f"link set {link} master br0 up",
        ]

    async def _enter(self, netns: str, ips: list[str]) -> None:
        lines = ["link set lo up", "link set eth0 up", *(f"addr add {ip}/8 dev eth0" for ip in ips)]
        lines += ["route add default dev eth0"]
        await self._ip(lines, netns)

    async def _ip(self, lines: list[str], netns: str | None = None) -> None:
        code, _, err = await self._runner.run(["ip", "-batch", "-"], "\n".join(lines).encode() + b"\n", netns)
        assert code == 0, err.decode()


class Bench:
    """What a test works with, inside the namespaces."""

    def __init__(self, runner: ZygoteRunner, *, nodes: int, faults: frozenset[str]) -> None:
        names = tuple(f"lab-worker{number}" for number in range(1, nodes + 1))
        self.runner, self.store = runner, Store()
        self.plan = Plan.of(names, ("ipv4",))
        self.network = PlainBridge(runner, self.plan)
        self.cluster = Cluster(
            store=self.store,
            runner=runner,
            dataplane=self.network,
            plan=self.plan,
            sockets=NetnsSockets(),
            token=lambda pod: f"token-of-{pod['metadata']['namespace']}-default",
            cluster_dns=("10.96.0.10",),
            upstream_dns=("172.30.2.1",),
            path=container_path(SYSTEM_PATH),
            faults=faults,
        )
        allocator = Allocator(self.plan, faults, annotation=ASKED_BY)
        self.kubelets = {name: Kubelet(self.cluster, name, allocator) for name in names}
        self.agents = Agents(runner, self.kubelets)
        self.store.create(
            "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        )

    def pod(self, name: str, argv: Sequence[str] = ("sleep", "1000"), *, node: int = 1, **spec: Any) -> Obj:
        """Create a pod bound to a node; ``container`` in ``spec`` adds to its only container."""
        container = {"name": "main", "image": "none", "command": list(argv), **spec.pop("container", {})}
        metadata = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        return self.store.create(
            "pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": {
                    "nodeName": f"lab-worker{node}",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    **spec,
                },
                "status": {"phase": "Pending"},
            },
        )

    def get(self, name: str) -> Obj:
        found = self.store.get("pods", "default", name)
        assert found is not None, f"pod {name} is gone"
        return found

    async def until(
        self, name: str, predicate: Callable[[Obj | None], object], timeout: float = 10
    ) -> Obj | None:
        """Wait until ``predicate`` holds for a pod (None: it is gone)."""
        with self.store.subscribe("pods") as subscription:
            try:
                async with asyncio.timeout(timeout):
                    while True:
                        pod = self.store.get("pods", "default", name)
                        if predicate(pod):
                            return pod
                        await subscription.batch()
            except TimeoutError:
                raise AssertionError(f"pod {name} stayed {self.store.get('pods', 'default', name)}") from None

    async def ready(self, *names: str, timeout: float = 10) -> None:
        for name in names:
            await self.until(name, is_ready, timeout)

    async def finished(self, name: str, timeout: float = 10) -> Obj:
        pod = await self.until(name, lambda p: p and p["status"]["phase"] in ("Succeeded", "Failed"), timeout)
        assert pod is not None
        return pod

    async def exec(self, name: str, *argv: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        out, err = bytearray(), bytearray()

        async def to_out(data: bytes) -> None:
            out.extend(data)

        async def to_err(data: bytes) -> None:
            err.extend(data)

        reader = None
        if stdin is not None:
            reader = asyncio.StreamReader()
            reader.feed_data(stdin)
            reader.feed_eof()
        code = await self.agents.exec(self.get(name), "main", argv, reader, to_out, to_err)
        return code, bytes(out), bytes(err)

    async def log(self, name: str, **options: Any) -> str:
        return b"".join(
            [chunk async for chunk in self.agents.logs(self.get(name), "main", **options)]
        ).decode()

    def events(self, reason: str) -> list[Obj]:
        return [event for event in self.store.list("events") if event["reason"] == reason]


def is_ready(pod: Obj | None) -> bool:
    conditions = ((pod or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def on_bench(
    test: Callable[[Bench], Awaitable[None]],
    *,
    nodes: int = 1,
    faults: Sequence[str] = (),
    timeout: float = 60,
) -> None:
    """Run an async test in namespaces of its own, as process 1; skip where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network and mount namespaces (the rootless lab has tests of its own)")
    if shutil.which("ip", path=SYSTEM_PATH) is None:
        pytest.skip("needs the program ip (package iproute2)")
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking a process with threads; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read)
        _outer(test, nodes, frozenset(faults), timeout, write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        failure = stream.read().decode()
    os.waitpid(pid, 0)
    if failure != "ok":
        pytest.fail(failure or "the bench died", pytrace=False)


def _outer(test: Any, nodes: int, faults: frozenset[str], timeout: float, report: int) -> None:
    try:
        syscalls.unshare(_NAMESPACES)
        pid = os.fork()
        if pid == 0:
            _inner(test, nodes, faults, timeout, report)
        os.waitpid(pid, 0)
    except BaseException:
        os.write(report, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _inner(test: Any, nodes: int, faults: frozenset[str], timeout: float, report: int) -> None:
    outcome = "ok"
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.make_private()
        syscalls.mount("proc", "/proc", "proc")
        syscalls.mount("bench", "/run", "tmpfs", 0, "mode=755")
        zygote, _ = fork_zygote(rootless=False)

        async def body() -> None:
            async with asyncio.timeout(timeout):
                runner = ZygoteRunner(zygote, on_death=lambda reason: None)
                await runner.ready()
                bench = Bench(runner, nodes=nodes, faults=faults)
                await bench.network.start()
                tasks = [asyncio.create_task(kubelet.run()) for kubelet in bench.kubelets.values()]
                work = asyncio.ensure_future(test(bench))
                done, _ = await asyncio.wait([work, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()

        asyncio.run(body())
    except BaseException:
        outcome = traceback.format_exc()
    finally:
        os.write(report, outcome.encode())
        os._exit(0)
