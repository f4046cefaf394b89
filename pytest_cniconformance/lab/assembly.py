# SPDX-License-Identifier: Apache-2.0
"""All parts of a lab put together, in the order in which they need each other."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab import ciliumcrds, cniobjects, metallb, outside, system
from pytest_cniconformance.lab.api.app import build_app
from pytest_cniconformance.lab.api.app import serve as serve_api
from pytest_cniconformance.lab.api.auth import ADMIN, Tokens
from pytest_cniconformance.lab.api.objects import namespace_of, set_condition
from pytest_cniconformance.lab.api.store import Store
from pytest_cniconformance.lab.api.tls import make_tls
from pytest_cniconformance.lab.api.writes import Writes
from pytest_cniconformance.lab.control.bootstrap import bootstrap
from pytest_cniconformance.lab.control.manager import Controllers
from pytest_cniconformance.lab.dataplane import DataplaneError, create_dataplane
from pytest_cniconformance.lab.dataplane.addressing import OUTSIDE, Plan, host_address, outside_address
from pytest_cniconformance.lab.dataplane.agentcache import NETWORK_POLICIES
from pytest_cniconformance.lab.dns.__main__ import FAULTS as DNS_FAULTS
from pytest_cniconformance.lab.errors import LabError
from pytest_cniconformance.lab.faults import Active
from pytest_cniconformance.lab.node.addresses import Allocator
from pytest_cniconformance.lab.node.agents import Agents
from pytest_cniconformance.lab.node.context import Cluster
from pytest_cniconformance.lab.node.kubelet import Kubelet
from pytest_cniconformance.lab.node.netns import NetnsSockets
from pytest_cniconformance.lab.node.nodeobject import node_object, ready_condition
from pytest_cniconformance.lab.node.rootfs import container_path, interpreter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.runner import ZygoteRunner

_API_PORT = 6443
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DNS_REPLICAS = 2
_KUBERNETES = {"ipv4": "10.96.0.1", "ipv6": "[fd00:10:96::1]"}


class Assembly:
    """One lab cluster inside its daemon."""

    def __init__(
        self, request: dict[str, Any], runner: ZygoteRunner, listener: socket.socket, *, rootless: bool
    ) -> None:
        self._runner, self._listener, self._rootless = runner, listener, rootless
        self._profile: str = request["profile"]
        self._families: tuple[str, ...] = tuple(request["families"])
        try:
            self._faults = Active(request["faults"])
        except ValueError as error:
            raise LabError(str(error)) from None
        names = tuple(f"lab-worker{number}" for number in range(1, request["nodes"] + 1))
        self._plan = Plan.of(names, self._families)
        self._store = Store()
        self._tls = make_tls()
        self._token = secrets.token_urlsafe(32)
        self._tokens = Tokens(self._store, {self._token: ADMIN})
        self._writes = Writes(
            self._store,
            families=[_kubernetes_family(family) for family in self._families],
            unvalidated=[NETWORK_POLICIES] if "policies-unvalidated" in self._faults else [],
        )
        self._dataplane = create_dataplane(
            self._profile,
            self._store,
            runner,
            families=self._families,
            faults=self._faults,
            nodes=names,
            directory=Path("/run/lab"),
        )
        cluster = Cluster(
            store=self._store,
            runner=runner,
            dataplane=self._dataplane,
            plan=self._plan,
            sockets=NetnsSockets(),
            token=self._pod_token,
            cluster_dns=system.dns_addresses(self._families),
            upstream_dns=tuple(outside_address(family) for family in self._families),
            path=container_path(_SYSTEM_PATH),
            rootless=rootless,
            faults=self._faults,
        )
        annotation = cniobjects.ADDRESS_ANNOTATIONS.get(self._profile, "")
        allocator = Allocator(self._plan, self._faults, annotation=annotation)
        self._kubelets = {name: Kubelet(cluster, name, allocator) for name in names}
        self._controllers = Controllers(self._writes, ca_pem=self._tls.ca_pem, faults=frozenset(self._faults))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, stage: Callable[[str], None]) -> None:
        """Bring everything up; returns once the nodes and the DNS pods are Ready."""
        try:
            stage("building the network")
            await asyncio.gather(self._dataplane.start(), self._runner.ready())
            agents = Agents(self._runner, self._kubelets)
            app = build_app(
                self._store, agents, tokens=self._tokens, faults=frozenset(self._faults), writes=self._writes
            )
            await serve_api(app, [self._listener, *self._underlay_sockets()], self._tls.context)
            self._start_outside()
            stage("creating the system objects")
            self._create_objects()
            stage("building the nodes")
            await asyncio.gather(*(self._start_node(name) for name in self._kubelets))
            # With all nodes Ready the scheduler spreads the two pods.
            commands = [self._dns_command(number) for number in range(_DNS_REPLICAS)]
            zone, server = outside.STUB_ZONE, self._stub_server()
            system.create_dns(self._writes, self._families, commands, zone=zone, server=server)
        except DataplaneError as error:
            raise LabError(f"the network cannot be built: {error}") from error
        stage("waiting for the DNS pods")
        await self._dns_ready()
        await self._dataplane.settled()

    async def run(self) -> None:
        """Work until something breaks."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise LabError(f"{', '.join(task.get_name() for task in done)} ended unexpectedly")

    def kubeconfig(self) -> str:
        """Return the kubeconfig for clients on this machine (JSON, which is YAML)."""
        name = f"lab-{self._profile}"
        authority = {"server": self._server(), "certificate-authority-data": _base64(self._tls.ca_pem)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": authority}],
            "users": [{"name": name, "user": {"token": self._token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        }
        return json.dumps(config, indent=2) + "\n"

    def description(self) -> dict[str, Any]:
        """Return what the owner of the lab wants to know."""
        notes = [
            f"emulates the published dataplane design of {self._profile}; no evidence about the real one",
            "images are ignored: pods run programs of this machine",
        ]
        if self._rootless:
            notes.append("rootless: one user id only, so runAsUser, runAsGroup and fsGroup have no effect")
        if self._faults:
            notes.append(f"injected faults: {', '.join(sorted(self._faults))}")
        if idle := self._faults.without_effect(self._profile):
            notes.append(f"faults that profile {self._profile} cannot show: {', '.join(idle)}")
        return {
            "context": f"lab-{self._profile}",
            "server": self._server(),
            "notes": notes,
        }

    # --- parts --------------------------------------------------------------------

    def _server(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def _underlay_sockets(self) -> list[socket.socket]:
        sockets = []
        for family in self._families:
            kind = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
            address = (host_address(family), _API_PORT)
            sockets.append(socket.create_server(address, family=kind, backlog=512))
        return sockets

    def _create_objects(self) -> None:
        families = tuple(_kubernetes_family(family) for family in self._families)
        bootstrap(self._writes, families=families, api_port=_API_PORT)
        self._controllers.start()
        for addresses in self._plan.nodes:
            node = node_object(addresses, ready=False)
            node["metadata"]["annotations"] |= cniobjects.node_annotations(self._profile, addresses)
            self._store.create("nodes", node)
        for obj in [
            *cniobjects.cni_objects(self._profile),
            *(ciliumcrds.cilium_crds() if self._profile == "cilium" else []),
            *cniobjects.custom_resources(self._profile),
            *metallb.objects(self._families),
        ]:
            self._writes.create_object(obj, trusted=True)
        agent = self._store.get("daemonsets.apps", *cniobjects.agent_key(self._profile))
        assert agent is not None
        status = cniobjects.daemon_set_status(len(self._plan.nodes))
        system.set_status(self._store, "daemonsets.apps", agent, status)

    def _start_outside(self) -> None:
        """Start the name server of the outside host."""
        argv = [
            interpreter(),
            "-I",
            "-S",
            outside.__file__,
            *(outside_address(family) for family in self._families),
        ]

        async def serve() -> None:
            code, _, err = await self._runner.run(argv, netns=OUTSIDE)
            raise LabError(f"the outside name server ended ({code}): {err.decode(errors='replace')[-300:]}")

        self._tasks.append(asyncio.create_task(serve(), name="outside name server"))

    def _stub_server(self) -> str:
        host = outside_address(self._families[0])
        return f"[{host}]:{outside.STUB_PORT}" if ":" in host else f"{host}:{outside.STUB_PORT}"

    def _dns_command(self, replica: int) -> list[str]:
        """Return the argv of a DNS pod."""
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        host = _KUBERNETES[self._families[0]]
        argv = ["python3", "-m", "pytest_cniconformance.lab.dns", "--api", f"https://{host}:443"]
        argv += ["--token-file", f"{account}/token", "--ca", f"{account}/ca.crt", "--domain", system.DOMAIN]
        for family in self._families:
            argv += ["--upstream", outside_address(family)]
        argv += ["--stub", f"{outside.STUB_ZONE}={self._stub_server()}"]
        for fault in sorted(self._faults.intersection(DNS_FAULTS)):
            if replica == 0 or fault != "dns-replica-broken":
                argv += ["--fault", fault]
        return argv

    async def _start_node(self, name: str) -> None:
        await self._dataplane.add_node(name)
        self._tasks.append(asyncio.create_task(self._kubelets[name].run(), name=f"kubelet of {name}"))

        def become_ready(node: Obj) -> None:
            node["status"]["conditions"] = set_condition(node["status"]["conditions"], ready_condition())

        self._store.modify("nodes", None, name, become_ready, subresource="status")

    async def _dns_ready(self) -> None:
        with self._store.subscribe("pods") as subscription:
            while True:
                pods = [pod for pod in self._store.list("pods", system.NAMESPACE) if _is_dns(pod)]
                if len(pods) == _DNS_REPLICAS and all(map(_is_ready, pods)):
                    return
                await subscription.batch()

    def _pod_token(self, pod: Obj) -> str:
        name = pod["spec"].get("serviceAccountName", "default")
        account = self._store.get("serviceaccounts", namespace_of(pod), name)
        if account is None:
            return ""  # admission refuses such pods; only a deleted account gets here
        return self._tokens.issue(account, pod=pod, seconds=365 * 24 * 3600)[0]


def _is_dns(pod: Obj) -> bool:
    return (pod["metadata"].get("labels") or {}).get("k8s-app") == "kube-dns"


def _is_ready(pod: Obj) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _kubernetes_family(family: str) -> str:
    return {"ipv4": "IPv4", "ipv6": "IPv6"}[family]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
