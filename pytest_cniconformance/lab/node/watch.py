# SPDX-License-Identifier: Apache-2.0
"""What happens around a running container: hooks and probes, and what follows from them."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Protocol

from pytest_cniconformance.lab.errors import LabError
from pytest_cniconformance.lab.node import probes

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster
    from pytest_cniconformance.lab.node.runner import Child
    from pytest_cniconformance.lab.node.spec import Process

_GRACE = 30.0  # seconds between SIGTERM and SIGKILL when a probe ends a container


class Pod(Protocol):
    """What a container needs from its pod."""

    @property
    def ip(self) -> str:
        """The pod's first address."""
        ...

    def process_for(self, container: Obj) -> Process:
        """Put together what to run. Raises ConfigError."""
        ...

    def changed(self) -> None:
        """Publish the pod's status soon."""
        ...

    def event(self, kind: str, reason: str, message: str, *, container: str = "") -> None:
        """Record an Event."""
        ...

    def termination_message(self, container: Obj) -> str:
        """Read and clear the container's termination log."""
        ...

    @property
    def probe_netns(self) -> str:
        """The network namespace of the node."""
        ...


class Watched(Protocol):
    """What the watch needs from its container, and what it sets."""

    spec: Obj
    kind: str
    name: str
    ready: bool
    started: bool
    child: Child | None
    up: asyncio.Event

    async def execute(self, argv: list[str]) -> tuple[int, bytes]:
        """Run a command in the container; return (exit code, output of both streams)."""
        ...


class ContainerWatch:
    """Watches over the runs of one container."""

    def __init__(self, cluster: Cluster, pod: Pod, container: Watched) -> None:
        self._sockets, self._pod, self._container = cluster.sockets, pod, container
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run the postStart hook and the probes of one run; cancelled when the run ends."""
        container = self._container
        if hook := (container.spec.get("lifecycle") or {}).get("postStart"):
            await self.hook(hook, "PostStart")
        target = self._target()
        if startup := container.spec.get("startupProbe"):
            await self._until_started(target, startup)
        container.started = True
        container.up.set()
        readiness, liveness = container.spec.get("readinessProbe"), container.spec.get("livenessProbe")
        container.ready = readiness is None and container.kind != "init"
        self._pod.changed()
        try:
            async with asyncio.TaskGroup() as group:
                if readiness:
                    group.create_task(probes.follow(target, readiness, self._readiness, quick=True))
                if liveness:
                    group.create_task(probes.follow(target, liveness, self._liveness, quick=False))
        except* LabError:
            pass  # the lab is going down; the daemon says why

    async def _until_started(self, target: probes.Target, probe: Obj) -> None:
        succeeded = asyncio.Event()

        def report(ok: bool, message: str) -> None:
            if ok:
                succeeded.set()
            else:
                self._unhealthy("Startup", message)
                self._restart_because("startup")

        task = asyncio.create_task(probes.follow(target, probe, report, quick=True))
        try:
            await succeeded.wait()
        finally:
            task.cancel()

    def _readiness(self, ok: bool, message: str) -> None:
        if not ok:
            self._unhealthy("Readiness", message)
        if ok != self._container.ready:
            self._container.ready = ok
            self._pod.changed()

    def _liveness(self, ok: bool, message: str) -> None:
        if not ok:
            self._unhealthy("Liveness", message)
            self._restart_because("liveness")

    def _unhealthy(self, kind: str, message: str) -> None:
        self._pod.event(
            "Warning", "Unhealthy", f"{kind} probe failed: {message}", container=self._container.name
        )

    def _restart_because(self, probe: str) -> None:
        text = f"Container {self._container.name} failed {probe} probe, will be restarted"
        self._pod.event("Normal", "Killing", text, container=self._container.name)
        if self._container.child is not None:
            # Held, because the loop itself holds tasks only weakly.
            self._ending = asyncio.create_task(_terminate(self._container.child))

    async def hook(self, hook: Obj, name: str) -> None:
        """Run a lifecycle hook; what goes wrong with it becomes an Event."""
        try:
            if action := hook.get("exec"):
                code, output = await self._container.execute(list(action["command"]))
                if code:
                    text = output[-256:].decode(errors="replace")
                    self._pod.event(
                        "Warning",
                        f"Failed{name}Hook",
                        f"exit code {code}: {text}",
                        container=self._container.name,
                    )
            elif action := hook.get("sleep"):
                await asyncio.sleep(action["seconds"])
            elif action := hook.get("httpGet"):
                await self._target().http(action)
        except OSError as error:
            self._pod.event("Warning", f"Failed{name}Hook", str(error), container=self._container.name)

    def _target(self) -> probes.Target:
        container = self._container
        return probes.Target(
            self._sockets, self._pod.probe_netns, self._pod.ip, container.spec, container.execute
        )


async def _terminate(child: Child) -> None:
    child.kill(signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE):
            await child.wait()
    except TimeoutError:
        child.kill(signal.SIGKILL)
