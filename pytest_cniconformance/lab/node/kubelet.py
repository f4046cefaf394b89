# SPDX-License-Identifier: Apache-2.0
"""The kubelet of one node: admits the pods that the scheduler binds to it, and lets them go."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.objects import key_of, name_of, namespace_of
from pytest_cniconformance.lab.dataplane.seams import DataplaneError, PodNet
from pytest_cniconformance.lab.node.addresses import Allocator
from pytest_cniconformance.lab.node.events import Recorder
from pytest_cniconformance.lab.node.pod import PodWorker, log_failure

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster

_log = logging.getLogger(__name__)
_DONE = ("Succeeded", "Failed")
_RETRY = 2.0  # seconds before the network of a pod is tried again


class Kubelet:
    """One node. ``run`` works until it is cancelled."""

    def __init__(self, cluster: Cluster, node: str, allocator: Allocator) -> None:
        self.node = node
        self._cluster = cluster
        self._allocator = allocator
        self._recorder = Recorder(cluster.store, node)
        addresses = cluster.plan.node(node)
        self._host_ips = tuple(addresses.underlay(family) for family in cluster.plan.families)
        self._workers: dict[str, PodWorker] = {}  # by uid
        self._nets: dict[str, PodNet] = {}
        self._incoming: list[Obj] = []
        self._wanted = asyncio.Event()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the store."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._admit())
            with self._cluster.store.subscribe("pods", "configmaps", "secrets") as subscription:
                while events := await subscription.batch():
                    for event in events:
                        if event.resource == "pods":
                            self._pod_event(event.type, event.object)
                    changed = {namespace_of(event.object) for event in events if event.resource != "pods"}
                    if changed:
                        self._cluster.announce_config_change()
                    for worker in self._workers.values():
                        if namespace_of(worker.pod) in changed:
                            worker.refresh_volumes()

    def worker(self, pod: Obj) -> PodWorker | None:
        """Return what runs a pod, or None when this node does not (any more)."""
        return self._workers.get(pod["metadata"]["uid"])

    def _pod_event(self, kind: str, pod: Obj) -> None:
        if pod["spec"].get("nodeName") != self.node:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if kind == "DELETED":
            if worker is not None:
                self._leave(worker, 0.0)
            else:
                self._incoming = [p for p in self._incoming if p["metadata"]["uid"] != uid]
            return
        if worker is None:
            known = uid in self._leaving or any(p["metadata"]["uid"] == uid for p in self._incoming)
            if "deletionTimestamp" in pod["metadata"] and uid not in self._leaving:
                self._incoming = [p for p in self._incoming if p["metadata"]["uid"] != uid]
                self._forget(pod)
            elif not known and pod.get("status", {}).get("phase") not in _DONE:
                self._incoming.append(pod)
                self._wanted.set()
            return
        worker.update(pod)
        if "deletionTimestamp" in pod["metadata"]:
            self._leave(worker, float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    # --- coming -----------------------------------------------------------------

    async def _admit(self) -> None:
        """Connect waiting pods to the network, all that wait in one batch, and start them."""
        while True:
            self._wanted.clear()
            if not self._incoming:
                await self._wanted.wait()
            batch, self._incoming = self._incoming, []
            workers = [worker for pod in batch if (worker := self._prepare(pod)) is not None]
            nets = [self._nets[worker.pod["metadata"]["uid"]] for worker in workers]
            if not nets:
                continue
            await self._connect(workers, nets)

    async def _connect(self, workers: list[PodWorker], nets: list[PodNet]) -> None:
        """Connect pods and start them. When a batch fails, each is tried alone, and the bad ones again later."""
        try:
            await self._cluster.dataplane.pods_added(self.node, nets)
        except DataplaneError as error:
            if len(workers) > 1:  # each has its own try
                for worker, net in zip(workers, nets, strict=True):
                    await self._connect([worker], [net])
                return
            (worker,) = workers
            text = f"Failed to create pod sandbox: {error}"
            self._recorder.record(worker.pod, "Warning", "FailedCreatePodSandBox", text)
            asyncio.get_running_loop().call_later(_RETRY, self._again, worker.pod["metadata"]["uid"])
            worker.attached.set()
            return
        for worker in workers:
            worker.attached.set()
            if worker.pod["metadata"]["uid"] not in self._leaving:
                worker.start(self._ended)

    def _again(self, uid: str) -> None:
        """Admit a pod anew whose network could not be built."""
        worker = self._workers.get(uid)
        if worker is None or uid in self._leaving:
            return
        del self._workers[uid]
        if not self._nets.pop(uid).host_network:
            self._allocator.give_back(uid)
        self._incoming.append(worker.pod)
        self._wanted.set()

    def _retry(self, pod: Obj) -> None:
        """Admit a pod anew that had no address, if it is still wanted."""
        present = self._cluster.store.get("pods", namespace_of(pod), name_of(pod))
        if present is not None and present["metadata"]["uid"] == pod["metadata"]["uid"]:
            self._pod_event("MODIFIED", present)

    def _prepare(self, pod: Obj) -> PodWorker | None:
        uid = pod["metadata"]["uid"]
        host_network = bool(pod["spec"].get("hostNetwork"))
        ips = self._host_ips if host_network else self._allocator.take(self.node, pod)
        if ips is None:
            text = "Failed to create pod sandbox: no address left in the node's pod CIDR, or not the one asked for"
            self._recorder.record(pod, "Warning", "FailedCreatePodSandBox", text)
            asyncio.get_running_loop().call_later(_RETRY, self._retry, pod)
            return None
        netns = self.node if host_network else f"pod-{uid[:13]}"
        self._nets[uid] = PodNet(
            namespace=namespace_of(pod),
            name=name_of(pod),
            uid=uid,
            ip=ips[0],
            netns=netns,
            host_network=host_network,
            more_ips=ips[1:],
        )
        worker = PodWorker(
            self._cluster,
            pod,
            node=self.node,
            host_ips=self._host_ips,
            ips=ips,
            netns=netns,
            recorder=self._recorder,
        )
        self._workers[uid] = worker
        return worker

    # --- going ------------------------------------------------------------------

    def _leave(self, worker: PodWorker, grace: float) -> None:
        uid = worker.pod["metadata"]["uid"]
        if uid in self._leaving:
            # A second deletion that asks for less grace changes nothing, as with Kubernetes 1.34; force does.
            if grace == 0:
                worker.hurry()
            return
        task = asyncio.create_task(self._remove(worker, grace), name=f"remove {key_of(worker.pod)}")
        self._leaving[uid] = task
        task.add_done_callback(lambda _: self._leaving.pop(uid, None))
        task.add_done_callback(log_failure)

    def _ended(self, worker: PodWorker) -> None:
        """Take a pod off the network whose containers have ended for good: its sandbox goes, its object stays."""
        if worker.pod["metadata"]["uid"] not in self._leaving:
            task = asyncio.create_task(self._release(worker), name=f"release {key_of(worker.pod)}")
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)
            task.add_done_callback(log_failure)

    async def _release(self, worker: PodWorker) -> None:
        """Give back a pod's links and addresses, once."""
        uid = worker.pod["metadata"]["uid"]
        net = self._nets.pop(uid, None)
        if net is None:
            return
        try:
            await self._cluster.dataplane.pods_removed(self.node, [net])
        except DataplaneError as error:
            # The pod's processes have ended; what is left of its links must not keep the object for ever.
            _log.error("removing the network of pod %s: %s", key_of(worker.pod), error)
        if not net.host_network:
            self._allocator.give_back(uid)

    async def _remove(self, worker: PodWorker, grace: float) -> None:
        pod = worker.pod
        uid = pod["metadata"]["uid"]
        await worker.stop(grace)
        await worker.attached.wait()
        await self._release(worker)
        self._workers.pop(uid, None)
        self._forget(pod)

    def _forget(self, pod: Obj) -> None:
        """Take a pod that has ended out of the API."""
        present = self._cluster.store.get("pods", namespace_of(pod), name_of(pod))
        if present is not None and present["metadata"]["uid"] == pod["metadata"]["uid"]:
            with suppress(ApiError):  # somebody may delete it in the same moment
                self._cluster.store.delete("pods", namespace_of(pod), name_of(pod), grace=0)
