# SPDX-License-Identifier: Apache-2.0
"""A cluster without nodes: the real API server and controllers, with stand-ins for the kubelets."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import yaml

from pytest_cniconformance.lab.api.app import build_app, serve
from pytest_cniconformance.lab.api.auth import ADMIN, NOBODY, Tokens
from pytest_cniconformance.lab.api.objects import clone, now
from pytest_cniconformance.lab.api.seams import ContainerNotFound
from pytest_cniconformance.lab.api.store import Store
from pytest_cniconformance.lab.api.tls import make_tls
from pytest_cniconformance.lab.api.writes import Writes
from pytest_cniconformance.lab.control.bootstrap import bootstrap
from pytest_cniconformance.lab.control.manager import Controllers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

ADMIN_TOKEN = "admin-token-of-the-tests"
NOBODY_TOKEN = "token-without-rights"


class FakeAgents:
    """Runs commands as processes of this host; logs count up."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    async def exec(
        self,
        pod: dict[str, Any],
        container: str,
        argv: Sequence[str],
        stdin: Any,
        stdout: Callable[[bytes], Awaitable[None]],
        stderr: Callable[[bytes], Awaitable[None]],
    ) -> int:
        if container == "gone":
            raise ContainerNotFound('container not found ("gone")')
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        async def feed() -> None:
            assert process.stdin is not None
            while data := await stdin.read(65536):
                process.stdin.write(data)
                await process.stdin.drain()
            process.stdin.close()

        async def drain(stream: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
            while data := await stream.read(65536):
                await write(data)

        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.create_task(feed()) if stdin else None
        try:
            await asyncio.gather(drain(process.stdout, stdout), drain(process.stderr, stderr))
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            self.killed.set()
            await process.wait()
            raise
        finally:
            if feeding is not None:
                feeding.cancel()

    async def logs(
        self,
        pod: dict[str, Any],
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        lines = [f"line {number}\n".encode() for number in range(5)]
        for line in lines if tail is None else lines[-tail:]:
            yield line
        if follow:
            yield b"followed\n"


class FakeKubelets:
    """Runs every scheduled pod at once and removes every deleted one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._addresses = iter(range(2, 60000))

    async def run(self) -> None:
        with self.store.subscribe("pods") as events:
            async for event in events:
                if event.type == "DELETED":
                    continue
                pod = self.store.get(
                    "pods", event.object["metadata"]["namespace"], event.object["metadata"]["name"]
                )
                if pod is None or not pod["spec"].get("nodeName"):
                    continue
                metadata = pod["metadata"]
                if metadata.get("deletionTimestamp"):
                    self.store.delete("pods", metadata["namespace"], metadata["name"], grace=0)
                elif pod["status"].get("phase") == "Pending":
                    self._start(pod)

    def _start(self, pod: dict[str, Any]) -> None:
        number = next(self._addresses)
        ip = f"10.244.{number // 250}.{number % 250}"
        running = clone(pod)
        ready = "not-ready" not in (pod["metadata"].get("labels") or {})
        status = running["status"]
        status |= {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": "172.30.1.1",
            "startTime": now(),
        }
        conditions = [one for one in status.get("conditions", []) if one["type"] == "PodScheduled"]
        conditions += [
            {
                "type": kind,
                "status": "True" if ready or kind == "Initialized" else "False",
                "lastProbeTime": None,
                "lastTransitionTime": now(),
            }
            for kind in ("Initialized", "ContainersReady", "Ready")
        ]
        status["conditions"] = conditions
        status["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "containerID": "lab://1",
                "ready": ready,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now()}},
                "lastState": {},
            }
            for container in pod["spec"]["containers"]
        ]
        self.store.update("pods", running, subresource="status")


def node(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"{name}-zone",
            },
        },
        "spec": {"podCIDR": "10.244.0.0/24"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "",
                    "lastHeartbeatTime": now(),
                    "lastTransitionTime": now(),
                }
            ],
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
            "capacity": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        },
    }


class FakeCluster:
    """The API server in a thread of this process, on a loopback port."""

    def __init__(self, directory: Path, *, faults: frozenset[str] = frozenset(), tls: bool = True) -> None:
        self.directory = directory
        self.faults = faults
        self.agents = FakeAgents()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab-api")
        self._socket = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self.kubeconfig = directory / "kubeconfig"
        self.ca = directory / "ca.crt"
        self.store: Store
        self.writes: Writes

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start()).result(20)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [
                {"name": "lab", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}
            ],
            "users": [
                {"name": "admin", "user": {"token": ADMIN_TOKEN}},
                {"name": "nobody", "user": {"token": NOBODY_TOKEN}},
            ],
            "contexts": [
                {"name": "lab", "context": {"cluster": "lab", "user": "admin"}},
                {"name": "nobody", "context": {"cluster": "lab", "user": "nobody"}},
            ],
        }
        if not self._tls:
            del config["clusters"][0]["cluster"]["certificate-authority"]  # type: ignore[index]
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._stop()).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def _call(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in the server's loop: how tests reach the store."""

        async def call() -> Any:
            return function(*args, **kwargs)

        return self._call(call()).result(20)

    async def _start(self) -> None:
        self.store = Store()
        self.writes = Writes(self.store)
        bootstrap(self.writes)
        for number in (1, 2, 3):
            self.store.create("nodes", node(f"lab-worker{number}", f"172.30.1.{number}"))
        tls = make_tls()
        self.ca.write_bytes(tls.ca_pem)
        tokens = Tokens(self.store, {ADMIN_TOKEN: ADMIN, NOBODY_TOKEN: NOBODY})
        app = build_app(self.store, self.agents, tokens=tokens, faults=self.faults, writes=self.writes)
        self._runner = await serve(app, [self._socket], tls.context if self._tls else None)
        self._controllers = Controllers(self.writes, ca_pem=tls.ca_pem, faults=self.faults)
        self._controllers.start()
        self._kubelets = asyncio.create_task(FakeKubelets(self.store).run())

    async def _stop(self) -> None:
        self._kubelets.cancel()
        await asyncio.gather(self._kubelets, return_exceptions=True)
        await self._controllers.stop()
        for connection in list(self._runner.server.connections if self._runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()  # a client that is still there would hold up the TLS shutdown
        await self._runner.cleanup()
