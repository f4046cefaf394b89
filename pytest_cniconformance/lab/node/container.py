# SPDX-License-Identifier: Apache-2.0
"""One container of a pod: its runs, its restarts, and what its status says."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.node import states
from pytest_cniconformance.lab.node.context import ConfigError
from pytest_cniconformance.lab.node.logs import ContainerLog
from pytest_cniconformance.lab.node.runner import Child, StartError
from pytest_cniconformance.lab.node.stdio import nonblocking_pipe, pump
from pytest_cniconformance.lab.node.watch import ContainerWatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster
    from pytest_cniconformance.lab.node.spec import Process
    from pytest_cniconformance.lab.node.watch import Pod

_FIRST_BACKOFF = 10.0
_LONGEST_BACKOFF = 300.0
_FORGIVEN_AFTER = 600.0  # seconds of running after which the back-off starts anew
_DRAIN = 0.5  # seconds that output of grandchildren may still arrive after the end


class Container:
    """A container and its state; ``kind`` is ``init``, ``sidecar`` (restartable init) or ``main``."""

    def __init__(self, cluster: Cluster, pod: Pod, spec: Obj, kind: str, restart_policy: str) -> None:
        self.spec, self.kind, self.name = spec, kind, spec["name"]
        self._cluster, self._pod, self._policy = cluster, pod, restart_policy
        self.state: Obj = states.waiting("PodInitializing" if kind == "main" else "ContainerCreating")
        self.last_state: Obj = {}
        self.restarts = 0
        self.ready = self.started = False
        self.container_id = ""
        self.child: Child | None = None
        self.log = ContainerLog()
        self.previous_log: ContainerLog | None = None
        self.up = asyncio.Event()
        """Set while the container runs and its startup probe, if any, has succeeded."""
        self._process: Process | None = None
        self._watch = ContainerWatch(cluster, pod, self)
        self._stopping = False
        self._backoff = 0.0

    @property
    def running(self) -> bool:
        """Whether a process of it runs."""
        return self.child is not None and self.child.running

    def joined(self, argv: list[str]) -> Process:
        """Return a process that runs beside the container's own, in all its namespaces and with its rights."""
        assert self._process is not None and self.child is not None, "the container has never run"
        sandbox = self._process.get("sandbox")
        assert sandbox is not None
        # The mounts are there already; leaving them out keeps the request small.
        return {**self._process, "argv": argv, "join": self.child.pid, "sandbox": {**sandbox, "mounts": []}}

    async def supervise(self) -> int:
        """Run until the restart policy lets the container rest; return the last exit code."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await self._run_once()
            if loop.time() - began > _FORGIVEN_AFTER:
                self._backoff = 0.0
            if self._resting(code):
                return code
            await self._back_off()
            if self._resting(code):
                return code
            self.restarts += 1

    async def stop(self, grace: float) -> None:
        """End the container: preStop, SIGTERM, and SIGKILL once ``grace`` seconds are over."""
        self._stopping = True
        child = self.child
        if child is None or not child.running:
            return
        self._pod.event("Normal", "Killing", f"Stopping container {self.name}", container=self.name)
        try:
            async with asyncio.timeout(grace):
                if hook := (self.spec.get("lifecycle") or {}).get("preStop"):
                    await self._watch.hook(hook, "PreStop")
                child.kill(signal.SIGTERM)
                await child.wait()
        except TimeoutError:
            child.kill(signal.SIGKILL)
            await child.wait()

    def kill(self) -> None:
        """End the container at once."""
        self._stopping = True
        if self.child is not None:
            self.child.kill(signal.SIGKILL)

    async def execute(self, argv: list[str]) -> tuple[int, bytes]:
        """Run a command in the container; return (exit code, output of both streams)."""
        if self.child is None or not self.child.running:
            return 1, b"container not running"
        output = os.memfd_create("exec", os.MFD_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        child = None
        try:
            process = self.joined(argv)
            child = await self._cluster.runner.start(process, (null, output, output))
            code = await child.wait()
            return code, os.pread(output, 1 << 16, 0)
        except StartError as error:
            return 126, str(error).encode()
        finally:
            if child is not None:
                child.kill()  # no effect unless a timeout has cancelled this call
            os.close(output)
            os.close(null)

    async def _run_once(self) -> int:
        while True:
            try:
                process = self._pod.process_for(self.spec)
                break
            except ConfigError as error:
                self.state = states.waiting("CreateContainerConfigError", str(error))
                self._pod.event("Warning", "Failed", f"Error: {error}", container=self.name)
                self._pod.changed()
                await self._cluster.config_change()
                if self._stopping:
                    return 128
        out_read, out_write = nonblocking_pipe(ours="read")
        err_read, err_write = nonblocking_pipe(ours="read")
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.container_id = f"lab://{secrets.token_hex(32)}"
        self._process = process
        try:
            self.child = await self._cluster.runner.start(process, (null, out_write, err_write))
        except BaseException as error:
            os.close(out_read)
            os.close(err_read)
            if not isinstance(error, StartError):
                raise
            return self._failed_to_start(error)
        finally:
            for fd in (null, out_write, err_write):
                os.close(fd)
        if self._stopping:
            self.child.kill()
        return await self._attend(self.child, (out_read, err_read))

    async def _attend(self, child: Child, output: tuple[int, int]) -> int:
        """See a run through, from its start to its end."""
        if self.restarts:
            self.previous_log, self.log = self.log, ContainerLog()
        log = self.log
        pumps = [
            asyncio.create_task(pump(fd, _sink(log, stream)))
            for fd, stream in zip(output, ("stdout", "stderr"), strict=True)
        ]
        self.state = states.running()
        started_at = self.state["running"]["startedAt"]
        self._pod.event("Normal", "Started", f"Started container {self.name}", container=self.name)
        watcher = asyncio.create_task(self._watch.run())
        self._pod.changed()
        try:
            code = await child.wait()
        finally:
            watcher.cancel()
        self.ready = self.started = False
        self.up.clear()
        await asyncio.wait(pumps, timeout=_DRAIN)
        for task in pumps:
            task.cancel()
        log.close()
        message = self._pod.termination_message(self.spec)
        if not message and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = log.last(80, 2048)
        self.state = states.terminated(code, started_at, self.container_id, message=message)
        self._pod.changed()
        return code

    def _failed_to_start(self, error: StartError) -> int:
        reason = "RunContainerError" if error.kind == "exec" else "CreateContainerError"
        text = f"failed to create containerd task: unable to start container process: {error}"
        now = states.running()["running"]["startedAt"]
        self.last_state = states.terminated(128, now, self.container_id, reason="StartError", message=text)
        self.state = states.waiting(reason, text)
        self._pod.event("Warning", "Failed", f"Error: {text}", container=self.name)
        self._pod.changed()
        return 128

    def _resting(self, code: int) -> bool:
        """Whether no further run follows."""
        if self._stopping:
            return True
        if self.kind == "sidecar":
            return False
        if self.kind == "init":
            return code == 0 or self._policy == "Never"
        return self._policy == "Never" or (self._policy == "OnFailure" and code == 0)

    async def _back_off(self) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        delay, self._backoff = self._backoff, min(max(_FIRST_BACKOFF, 2 * self._backoff), _LONGEST_BACKOFF)
        if not delay and "waiting" not in self.state:
            return  # the first restart is immediate
        if delay:
            text = f"back-off {delay:.0f}s restarting failed container={self.name}"
            self.state = states.waiting("CrashLoopBackOff", text)
            message = f"Back-off restarting failed container {self.name}"
            self._pod.event("Warning", "BackOff", message, container=self.name)
            self._pod.changed()
        await asyncio.sleep(delay or _FIRST_BACKOFF / 10)


def _sink(log: ContainerLog, stream: str) -> Callable[[bytes], Awaitable[None]]:
    async def write(data: bytes) -> None:
        await log.write(stream, data)

    return write
