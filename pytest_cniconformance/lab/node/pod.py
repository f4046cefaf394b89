# SPDX-License-Identifier: Apache-2.0
"""One pod on its node, from the moment its network stands to its last container's end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.objects import key_of, name_of, namespace_of, now
from pytest_cniconformance.lab.errors import LabError
from pytest_cniconformance.lab.node import states
from pytest_cniconformance.lab.node.blueprint import Blueprint
from pytest_cniconformance.lab.node.container import Container
from pytest_cniconformance.lab.node.context import ConfigError
from pytest_cniconformance.lab.node.status import conditions_of, container_status, phase_of
from pytest_cniconformance.lab.node.volumes import PodVolumes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster
    from pytest_cniconformance.lab.node.events import Recorder
    from pytest_cniconformance.lab.node.spec import Process

_log = logging.getLogger(__name__)
_LAST_WORDS = 1.0  # seconds for the output of ended containers to be read
_TERMINATION_LOG = "/dev/termination-log"


class PodWorker:
    """Runs a pod; the kubelet feeds it the pod's changes and asks it to stop."""

    def __init__(
        self,
        cluster: Cluster,
        pod: Obj,
        *,
        node: str,
        host_ips: Sequence[str],
        ips: tuple[str, ...],
        netns: str,
        recorder: Recorder,
    ) -> None:
        self.pod, self.ips, self.netns = pod, ips, netns
        self._cluster, self._node, self._host_ips, self._recorder = cluster, node, host_ips, recorder
        self._policy = pod["spec"].get("restartPolicy", "Always")
        self._volumes = PodVolumes(cluster, pod, host_ips)
        self._blueprint = Blueprint(cluster, self._volumes, pod, node, host_ips, ips, netns)
        self.attached = asyncio.Event()
        """Set once the dataplane has done with the pod's network, well or badly."""
        self.containers: dict[str, Container] = {}
        for spec in pod["spec"].get("initContainers") or []:
            kind = "sidecar" if spec.get("restartPolicy") == "Always" else "init"
            self._add(spec, kind)
        for spec in pod["spec"]["containers"]:
            self._add(spec, "main")
        self._started_at = now()
        self._networked = False
        self._initialized = False
        self._stopping = False
        self._publishing = False
        self._problem = ""
        self._task: asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[int]] = {}

    def _add(self, spec: Obj, kind: str) -> None:
        self.containers[spec["name"]] = Container(self._cluster, self, spec, kind, self._policy)

    # --- life ---------------------------------------------------------------

    def start(self, ended: Callable[[PodWorker], None]) -> None:
        """Begin; the pod's network is in place. ``ended`` is called when no container will run any more."""
        self._networked = True
        self.publish()
        self._task = asyncio.create_task(self._run(), name=f"pod {key_of(self.pod)}")
        self._task.add_done_callback(log_failure)
        self._task.add_done_callback(lambda task: None if task.cancelled() else ended(self))

    def update(self, pod: Obj) -> None:
        """Take over a newer version of the object."""
        before, self.pod = self.pod, pod
        if before["metadata"] != pod["metadata"]:
            self.refresh_volumes()
        if pod["spec"].get("readinessGates"):
            self.changed()

    def refresh_volumes(self) -> None:
        """Bring volumes from ConfigMaps, Secrets and the pod itself up to date."""
        if self._networked:
            self._volumes.refresh(self.pod)

    async def stop(self, grace: float) -> None:
        """End all containers, sidecars last, within ``grace`` seconds; then forget the files."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        # What waits (for a ConfigMap, for its back-off) has nothing to finish.
        for name, task in self._tasks.items():
            if not self.containers[name].running:
                task.cancel()
        others = [container for container in self.containers.values() if container.kind != "sidecar"]
        await asyncio.gather(*(container.stop(grace) for container in others))
        left = max(0.0, deadline - loop.time())
        sidecars = [container for container in self.containers.values() if container.kind == "sidecar"]
        await asyncio.gather(*(container.stop(left) for container in sidecars))
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks.values(), timeout=_LAST_WORDS)
            for task in unfinished:
                task.cancel()
        self.publish()
        self._volumes.remove()

    def hurry(self) -> None:
        """End all containers at once: a second deletion asked for no more grace."""
        for container in self.containers.values():
            container.kill()

    async def _run(self) -> None:
        await self._prepare()
        if not await self._initialize():
            return
        self._initialized = True
        self.changed()
        for container in self.containers.values():
            if container.kind == "main":
                container.state = states.waiting("ContainerCreating")
                self._launch(container)
        main = [task for name, task in self._tasks.items() if self.containers[name].kind == "main"]
        await asyncio.wait(main)  # unlike gather it leaves them alone when this task is cancelled
        # A pod has ended with its last main container; sidecars must not keep it alive.
        await asyncio.gather(*(c.stop(30) for c in self.containers.values() if c.kind == "sidecar"))
        self.changed()

    async def _prepare(self) -> None:
        while True:
            try:
                self._volumes.prepare(self.ips)
                break
            except ConfigError as error:
                text = f"MountVolume.SetUp failed: {error}"
                self._recorder.record(self.pod, "Warning", "FailedMount", text)
                await self._cluster.config_change()
        self._blueprint.write_files(self.pod)

    async def _initialize(self) -> bool:
        """Run the init containers one after another; False when one failed for good."""
        for container in self.containers.values():
            if container.kind == "main":
                continue
            task = self._launch(container)
            if container.kind == "sidecar":
                await container.up.wait()
                continue
            await asyncio.wait([task])
            if task.result() != 0:
                self.changed()
                return False
        return True

    def _launch(self, container: Container) -> asyncio.Task[int]:
        message = f'Container image "{container.spec.get("image", "")}" ignored by the lab: programs are the host\'s'
        self.event("Normal", "Pulled", message, container=container.name)
        self.event("Normal", "Created", f"Created container: {container.name}", container=container.name)
        task = asyncio.create_task(
            container.supervise(), name=f"container {key_of(self.pod)} {container.name}"
        )
        task.add_done_callback(log_failure)
        self._tasks[container.name] = task
        return task

    # --- what containers ask ---------------------------------------------------

    @property
    def ip(self) -> str:
        """The pod's first address."""
        return self.ips[0]

    @property
    def probe_netns(self) -> str:
        """The network namespace that probes come from: the node's."""
        return self._node

    def event(self, kind: str, reason: str, message: str, *, container: str = "") -> None:
        """Record an Event about the pod or one of its containers."""
        field = ""
        if container:
            part = "containers" if self.containers[container].kind == "main" else "initContainers"
            field = f"spec.{part}{{{container}}}"
        self._recorder.record(self.pod, kind, reason, message, field=field)

    def process_for(self, container: Obj) -> Process:
        """Put together a container's process. Raises ConfigError."""
        return self._blueprint.process(self.pod, container)

    def termination_message(self, container: Obj) -> str:
        """Read and clear what the container left in its termination log."""
        return self._blueprint.termination_message(container)

    # --- status ---------------------------------------------------------------

    def changed(self) -> None:
        """Publish the status at the end of this turn of the loop; many changes make one write."""
        if not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self.publish)

    def publish(self) -> None:
        """Write the status now, if it differs from the stored one."""
        self._publishing = False
        present = self._cluster.store.get("pods", namespace_of(self.pod), name_of(self.pod))
        if present is None or present["metadata"]["uid"] != self.pod["metadata"]["uid"]:
            return
        updated = {**present, "status": self._status(present)}
        # Gone between reading and writing is not possible on one loop, but a finaliser may just have ended it.
        with contextlib.suppress(ApiError):
            self._cluster.store.update("pods", updated, subresource="status")

    def _status(self, present: Obj) -> Obj:
        containers = list(self.containers.values())
        phase = phase_of(containers, self._policy, initialized=self._initialized)
        if self._stopping and phase == "Running" and all("terminated" in c.state for c in containers):
            phase = (
                "Succeeded" if all(c.state["terminated"]["exitCode"] == 0 for c in containers) else "Failed"
            )
        gates = [gate["conditionType"] for gate in present["spec"].get("readinessGates") or []]
        status: Obj = {
            **present.get("status", {}),
            "phase": phase,
            "hostIP": self._host_ips[0],
            "hostIPs": [{"ip": ip} for ip in self._host_ips],
            "podIP": self.ips[0],
            "podIPs": [{"ip": ip} for ip in self.ips],
            "startTime": self._started_at,
            "qosClass": present.get("status", {}).get("qosClass", "BestEffort"),
            "conditions": conditions_of(
                present.get("status", {}).get("conditions") or [],
                containers,
                phase,
                initialized=self._initialized,
                networked=self._networked,
                gates=gates,
            ),
            "containerStatuses": [container_status(c) for c in containers if c.kind == "main"],
        }
        if initial := [container_status(c) for c in containers if c.kind != "main"]:
            status["initContainerStatuses"] = initial
        return status


def log_failure(task: asyncio.Task[Any]) -> None:
    """Write an unexpected end of a task to the lab's log; a defect of the lab must not look like a slow pod."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LabError):
        _log.error("%s failed", task.get_name(), exc_info=error)
