# SPDX-License-Identifier: Apache-2.0
"""A world for the dataplane: private namespaces, a stand-in store, pods with servers, probes."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane import PodNet, create_dataplane
from pytest_cniconformance.lab.dataplane.loadbalancer import ANNOUNCED_BY
from tests.lab_net.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

Obj = dict[str, Any]
NODES = ("lab-worker1", "lab-worker2", "lab-worker3")


@dataclass(frozen=True)
class Event:
    type: str
    resource: str
    object: Obj


class FakeStore:
    """The least that the dataplane needs of a store."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Obj]] = {}
        self._queues: list[tuple[tuple[str, ...], asyncio.Queue[Event]]] = []
        self._version = itertools.count(1)

    def list(self, resource: str, namespace: str | None = None) -> list[Obj]:
        found = self._objects.get(resource, {}).values()
        return [o for o in found if namespace is None or o["metadata"].get("namespace") == namespace]

    def put(self, resource: str, obj: Obj) -> Obj:
        meta = obj["metadata"]
        meta.setdefault("uid", f"{resource}-{meta.get('namespace')}-{meta['name']}-{next(self._version)}")
        meta["resourceVersion"] = str(next(self._version))
        key = (meta.get("namespace", ""), meta["name"])
        known = self._objects.setdefault(resource, {})
        kind = "MODIFIED" if key in known else "ADDED"
        known[key] = obj
        self._publish(Event(kind, resource, obj))
        return obj

    def remove(self, resource: str, namespace: str, name: str) -> None:
        obj = self._objects[resource].pop((namespace, name))
        self._publish(Event("DELETED", resource, obj))

    def _publish(self, event: Event) -> None:
        for resources, queue in self._queues:
            if event.resource in resources:
                queue.put_nowait(event)

    async def subscribe(self, *resources: str) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._queues.append((resources, queue))
        for resource in resources:
            for obj in self.list(resource):
                yield Event("ADDED", resource, obj)
        while True:
            yield await queue.get()


@dataclass
class Pod:
    net: PodNet
    node: str

    @property
    def ip(self) -> str:
        return self.net.ip

    @property
    def netns(self) -> str:
        return self.net.netns

    @property
    def name(self) -> str:
        return self.net.key


@dataclass
class World:
    """A running dataplane of three nodes. ``do`` runs a coroutine on the world's own loop."""

    profile: str
    directory: Path
    faults: tuple[str, ...] = ()
    families: tuple[str, ...] = ("ipv4",)
    nodes: tuple[str, ...] = NODES
    pods: dict[str, Pod] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = FakeStore()
        self._used = dict.fromkeys(self.nodes, 1)
        self._policies: list[tuple[str, str, str]] = []
        self.do(self._start())

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _start(self) -> None:
        self.sandbox = await Sandbox.start()
        self.dataplane = create_dataplane(
            self.profile,
            self.store,
            self.sandbox,
            families=self.families,
            faults=self.faults,
            nodes=self.nodes,
            directory=self.directory,
        )
        await self.dataplane.start()
        await asyncio.gather(*(self.dataplane.add_node(node) for node in self.nodes))

    def close(self) -> None:
        self.do(self._stop())
        self.loop.close()

    async def _stop(self) -> None:
        await self.dataplane.stop()
        await self.sandbox.stop()

    # -- objects --------------------------------------------------------------------------------------------

    def namespace(self, name: str, **labels: str) -> None:
        every = {"kubernetes.io/metadata.name": name, **labels}
        self.store.put("namespaces", {"metadata": {"name": name, "labels": every}})

    def pod(
        self,
        key: str,
        node: str,
        labels: dict[str, str] | None = None,
        *,
        serve: Sequence[tuple[str, int]] = (("tcp", 80), ("tcp", 81), ("udp", 80)),
        named: dict[str, int] | None = None,
    ) -> Pod:
        return self.pods_at_once([(key, node, labels or {})], serve=serve, named=named)[0]

    def pods_at_once(
        self,
        wanted: Sequence[tuple[str, str, dict[str, str]]],
        *,
        serve: Sequence[tuple[str, int]] = (("tcp", 80), ("tcp", 81), ("udp", 80)),
        named: dict[str, int] | None = None,
    ) -> list[Pod]:
        made = []
        for key, node, labels in wanted:
            namespace, name = key.split("/")
            addresses = self.dataplane.plan.node(node)  # type: ignore[attr-defined]
            self._used[node] += 1
            ips = [str(addresses.pod_cidr(f).network_address + self._used[node]) for f in self.families]
            ports = [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in (named or {}).items()]
            obj = self.store.put(
                "pods",
                {
                    "metadata": {"namespace": namespace, "name": name, "labels": {"pod": name, **labels}},
                    "spec": {"nodeName": node, "containers": [{"name": "c", "ports": ports}]},
                    "status": {"phase": "Pending"},
                },
            )
            uid = obj["metadata"]["uid"]
            netns = f"pod-{namespace}-{name}"
            net = PodNet(namespace, name, uid, ips[0], netns, more_ips=tuple(ips[1:]))
            made.append(Pod(net, node))

        async def connect() -> None:
            by_node: dict[str, list[PodNet]] = {}
            for pod in made:
                by_node.setdefault(pod.node, []).append(pod.net)
            await asyncio.gather(*(self.dataplane.pods_added(n, pods) for n, pods in by_node.items()))
            await asyncio.gather(
                *(
                    self.sandbox.ask(
                        "serve",
                        netns=pod.netns,
                        name=pod.name,
                        port=port,
                        kind=kind,
                        ip="0.0.0.0" if len(self.families) == 1 and self.families[0] == "ipv4" else "::",
                    )
                    for pod in made
                    for kind, port in serve
                )
            )

        self.do(connect())
        for pod in made:
            self.pods[pod.name] = pod
        return made

    def remove_pod(self, key: str) -> None:
        pod = self.pods.pop(key)
        self.store.remove("pods", *key.split("/"))
        self.do(self.dataplane.pods_removed(pod.node, [pod.net]))

    def relabel(self, key: str, labels: dict[str, str]) -> None:
        namespace, name = key.split("/")
        old = next(o for o in self.store.list("pods", namespace) if o["metadata"]["name"] == name)
        self.store.put("pods", {**old, "metadata": {**old["metadata"], "labels": labels}})
        self.settle()

    def policy(self, key: str, spec: Obj) -> None:
        """Apply a NetworkPolicy, with the defaulting that an API server does."""
        namespace, name = key.split("/")
        if "policyTypes" not in spec:
            spec = {**spec, "policyTypes": ["Ingress", *(["Egress"] if spec.get("egress") else [])]}
        self._put("networkpolicies.networking.k8s.io", namespace, name, spec)

    def cilium_policy(self, key: str, spec: Obj) -> None:
        self._put("ciliumnetworkpolicies.cilium.io", *key.split("/"), spec)

    def _put(self, resource: str, namespace: str, name: str, spec: Obj) -> None:
        old = [o for o in self.store.list(resource, namespace) if o["metadata"]["name"] == name]
        meta = {"namespace": namespace, "name": name}
        if old:
            meta["uid"] = old[0]["metadata"]["uid"]
        self.store.put(resource, {"metadata": meta, "spec": spec})
        if (resource, namespace, name) not in self._policies:
            self._policies.append((resource, namespace, name))
        self.settle()

    def no_policies(self) -> None:
        for resource, namespace, name in self._policies:
            if any(o["metadata"]["name"] == name for o in self.store.list(resource, namespace)):
                self.store.remove(resource, namespace, name)
        self._policies.clear()
        self.settle()

    def service(
        self, key: str, backends: Sequence[str], *, port: int = 80, target: int = 80, **spec: Any
    ) -> None:
        namespace, name = key.split("/")
        protocol = spec.pop("protocol", "TCP")
        status, hinted = spec.pop("status", {}), "trafficDistribution" in spec
        number = sum(map(ord, key)) % 250 + 1
        addresses = [f"10.96.7.{number}" if f == "ipv4" else f"fd00:10:96::{number:x}" for f in self.families]
        entry = {"name": "p", "port": port, "targetPort": target, "protocol": protocol}
        if node_port := spec.pop("node_port", None):
            entry["nodePort"] = node_port
        spec = {
            "type": "ClusterIP",
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ports": [entry],
            **spec,
        }
        meta: Obj = {"namespace": namespace, "name": name}
        if status and backends:  # what the controller would elect
            meta["annotations"] = {ANNOUNCED_BY: self.pods[backends[0]].node}
        self.store.put("services", {"metadata": meta, "spec": spec, "status": status})
        for index, family in enumerate(self.families):
            self.store.put(
                "endpointslices.discovery.k8s.io",
                {
                    "metadata": {
                        "namespace": namespace,
                        "name": f"{name}-{family}",
                        "labels": {"kubernetes.io/service-name": name},
                    },
                    "addressType": "IPv4" if family == "ipv4" else "IPv6",
                    "ports": [{"name": "p", "port": target, "protocol": protocol}],
                    "endpoints": [
                        {
                            "addresses": [self.pods[b].net.ips[index]],
                            "conditions": {"ready": True},
                            "nodeName": self.pods[b].node,
                            "hints": {"forZones": [{"name": f"{self.pods[b].node}-zone"}]} if hinted else {},
                        }
                        for b in backends
                    ],
                },
            )
        self.settle()

    def remove_service(self, key: str) -> None:
        namespace, name = key.split("/")
        self.store.remove("services", namespace, name)
        for family in self.families:
            self.store.remove("endpointslices.discovery.k8s.io", namespace, f"{name}-{family}")
        self.settle()

    def cluster_ip(self, key: str, family: int = 0) -> str:
        namespace, name = key.split("/")
        found = next(o for o in self.store.list("services", namespace) if o["metadata"]["name"] == name)
        return str(found["spec"]["clusterIPs"][family])

    def settle(self) -> None:
        self.do(self.dataplane.settled())

    # -- traffic --------------------------------------------------------------------------------------------

    def probe(self, source: str, ip: str, port: int = 80, **options: Any) -> str:
        """``open``, ``refused``, ``timeout`` or ``unreachable``; source is a pod's key, a node or outside."""
        return str(self.answer(source, ip, port, **options)["verdict"])

    def answer(self, source: str, ip: str, port: int = 80, **options: Any) -> Obj:
        netns = self.pods[source].netns if source in self.pods else source
        result: Obj = self.do(self.sandbox.ask("probe", netns=netns, ip=ip, port=port, **options))
        return result

    def verdicts(
        self, cells: Sequence[tuple[str, str, int]], **options: Any
    ) -> dict[tuple[str, str, int], str]:
        """Probe many (source pod, destination pod, port) at the same time."""

        async def one(cell: tuple[str, str, int]) -> str:
            source, target, port = cell
            found = await self.sandbox.ask(
                "probe", netns=self.pods[source].netns, ip=self.pods[target].ip, port=port, **options
            )
            return str(found["verdict"])

        async def everything() -> list[str]:
            return await asyncio.gather(*(one(cell) for cell in cells))

        return dict(zip(cells, self.do(everything()), strict=True))

    def http(self, source: str, ip: str, port: int, *requests: tuple[str, str]) -> list[Any]:
        """Statuses (or ``reset``, ``timeout`` ...) of requests over one connection."""
        wanted = [{"method": m, "path": p} for m, p in requests]
        netns = self.pods[source].netns if source in self.pods else source
        answers = self.do(self.sandbox.ask("http", netns=netns, ip=ip, port=port, requests=wanted))
        return [status for status, _ in answers]

    def until(self, condition: Callable[[], bool], *, attempts: int = 200) -> bool:
        """Ask again until it holds; every question itself takes a network round trip."""
        return any(condition() for _ in range(attempts))

    def shell(self, command: str, netns: str | None = None) -> str:
        code, out, err = self.do(self.sandbox.run(["sh", "-c", command], netns=netns))
        assert code == 0, err.decode()
        return str(out.decode())
