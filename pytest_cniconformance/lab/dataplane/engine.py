# SPDX-License-Identifier: Apache-2.0
"""The dataplane of a lab: builds links when kubelets ask, and keeps the agents of all nodes up to date."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import IPV4, IPV6, Plan
from pytest_cniconformance.lab.dataplane.commands import Batch, Commands
from pytest_cniconformance.lab.dataplane.helpers import run_helper
from pytest_cniconformance.lab.dataplane.l7 import proxy_routing
from pytest_cniconformance.lab.dataplane.natrules import (
    DELAY_FAULTS,
    DELAY_MARK,
    DELAY_TABLE,
    FaultTable,
    masquerade_table,
)
from pytest_cniconformance.lab.dataplane.nft import transition
from pytest_cniconformance.lab.dataplane.nodeagent import NodeAgent
from pytest_cniconformance.lab.dataplane.podfaults import PodBreaker
from pytest_cniconformance.lab.dataplane.policytable import DELAY_DEVICE
from pytest_cniconformance.lab.dataplane.profiles import PROFILE_CLASSES
from pytest_cniconformance.lab.dataplane.seams import DataplaneError
from pytest_cniconformance.lab.dataplane.state import RESOURCES, State, StateReader
from pytest_cniconformance.lab.dataplane.topology import build_node, build_underlay
from pytest_cniconformance.lab.faults import Active

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_cniconformance.lab.dataplane.seams import PodNet, Store, StoreEvent, Zygote

_DELAY_MILLISECONDS = 20


class Engine:
    """Implements ``seams.Dataplane``."""

    def __init__(
        self,
        profile: str,
        store: Store,
        zygote: Zygote,
        *,
        families: tuple[str, ...],
        faults: Collection[str],
        nodes: tuple[str, ...],
        directory: Path | None,
    ) -> None:
        unknown = [family for family in families if family not in (IPV4, IPV6)]
        if unknown or not families:
            raise ValueError(f"address families are ipv4 and ipv6, not {', '.join(unknown) or 'none'}")
        self.faults = Active(faults)
        self.plan = Plan.of(nodes, families)
        extra = 50 if "mtu-blackhole" in self.faults else 0
        self._profile = PROFILE_CLASSES[profile](self.plan, extra)
        self._store = store
        self._zygote = zygote
        self._commands = Commands(zygote)
        self._directory = directory
        self._reader = StateReader(profile, store, self.faults, self._touch_later)
        self._agents: dict[str, NodeAgent] = {}
        self._connected: dict[str, tuple[str, PodNet]] = {}
        self._seen: dict[str, object] = {}
        self._breaker = PodBreaker(self._commands, self.plan, self._profile, self.faults)
        self._version = 0
        self._cached: tuple[int, State] | None = None
        self._follower: asyncio.Task[None] | None = None

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Build the underlay and the outside host, and begin to follow the store."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="cniconformance-lab-", dir=_run_directory()))
        await build_underlay(self._commands, self.plan)
        self._follower = asyncio.create_task(self._follow(), name="dataplane-events")

    async def stop(self) -> None:
        """Stop following the store and end helper processes; the namespaces go with the lab."""
        if self._follower:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await asyncio.gather(*(agent.stop() for agent in self._agents.values()))

    async def add_node(self, node: str) -> None:
        """Build a node: its namespace, links, Services and policies."""
        addresses = self.plan.node(node)
        await build_node(self._commands, self.plan, addresses)
        batch = self._profile.node(addresses)
        if self._profile.name == "cilium":
            batch.shell += proxy_routing(self.plan.families).shell
        batch.nft = transition(None, masquerade_table(self.plan, self.faults)) + transition(
            None, FaultTable(self.plan, addresses, self._profile, self.faults).build()
        )
        if "idle-connections-cut" in self.faults:
            batch.sysctl.append(("netfilter/nf_conntrack_tcp_timeout_established", "1"))
        if "missing-node-route" in self.faults and addresses == self.plan.nodes[0] != self.plan.nodes[-1]:
            last = self.plan.nodes[-1]
            batch.shell += [f"ip route del {last.pod_cidr(family)}" for family in self.plan.families]
        await self._commands.run(node, batch, what=f"building the {self._profile.name} dataplane")
        if DELAY_FAULTS & self.faults:
            await self._add_delay_line(node)
        assert self._directory is not None, "start() comes first"
        agent = NodeAgent(
            self._zygote,
            self.plan,
            addresses,
            self._profile,
            self.faults,
            self._state,
            self._connected,
            self._directory,
        )
        self._agents[node] = agent
        agent.start()
        await agent.sync()

    async def _add_delay_line(self, node: str) -> None:
        settings = {"device": DELAY_DEVICE, "milliseconds": _DELAY_MILLISECONDS, "mtu": self._profile.mtu}
        await run_helper(self._zygote, node, "delayline", settings)
        batch = Batch(
            sysctl=[(f"ipv4/conf/{DELAY_DEVICE}/rp_filter", "0")],
            shell=[
                f"ip rule add pref 8 fwmark 0x{DELAY_MARK:x}/0x{DELAY_MARK:x} lookup {DELAY_TABLE}",
                f"ip route add default dev {DELAY_DEVICE} table {DELAY_TABLE}",
            ],
        )
        await self._commands.run(node, batch, what="adding a delay line")

    # -- pods -----------------------------------------------------------------------------------------------

    async def pods_added(self, node: str, pods: Sequence[PodNet]) -> None:
        """Connect pods: links, addresses and policy are in place when this returns."""
        for pod in pods:
            self._connected[pod.uid] = (node, pod)
        self._touch()
        linked = [pod for pod in pods if not pod.host_network]
        try:
            await asyncio.gather(self._link(node, linked), self._agents[node].sync())
        except DataplaneError:
            for pod in pods:
                self._connected.pop(pod.uid, None)
            self._touch()
            raise

    async def _link(self, node: str, pods: Sequence[PodNet]) -> None:
        if not pods:
            return
        names = " ".join(pod.netns for pod in pods)
        create = f"for n in {names}; do [ -e /run/netns/$n ] || echo netns add $n; done | ip -batch -"
        await self._commands.shell(
            None, f"PATH=$PATH:/usr/sbin:/sbin; {create}", what="creating pod namespaces"
        )
        addresses, batch = self.plan.node(node), Batch()
        for pod in pods:
            self._profile.node_side(addresses, pod, batch)
        await self._commands.run(node, batch, what="connecting pods")
        await asyncio.gather(
            *(
                self._commands.run(
                    pod.netns, self._profile.pod_side(addresses, pod), what=f"configuring pod {pod.key}"
                )
                for pod in pods
            )
        )
        await self._commands.links_up(node, [self._profile.interface(pod) for pod in pods])

    async def pods_removed(self, node: str, pods: Sequence[PodNet]) -> None:
        """Take pods off the network."""
        for pod in pods:
            self._connected.pop(pod.uid, None)
            self._breaker.forget(pod.uid)
        self._touch()
        linked = [pod for pod in pods if not pod.host_network]
        if linked:
            links = Batch(ip=[f"link del {self._profile.interface(pod)}" for pod in linked], forgiving=True)
            await self._commands.run(node, links, what="disconnecting pods")
            spaces = Batch(ip=[f"netns del {pod.netns}" for pod in linked], forgiving=True)
            await self._commands.run(None, spaces, what="deleting pod namespaces")

    # -- following ------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Return once the store's present content is programmed on every node."""
        self._version += 1
        await asyncio.gather(*(agent.settled() for agent in self._agents.values()))

    async def _follow(self) -> None:
        async for event in self._store.subscribe(*RESOURCES):
            if event.resource == "pods":
                await self._breaker.observe(event.object, self._connected)
                if not self._matters(event):
                    continue
            self._touch()

    def _matters(self, event: StoreEvent) -> bool:
        """Spare the agents the many status updates of pods that change nothing for them."""
        meta = event.object["metadata"]
        uid = str(meta.get("uid"))
        if event.type == "DELETED":
            self._seen.pop(uid, None)
            return True
        phase = (event.object.get("status") or {}).get("phase")
        now = (meta.get("labels"), phase, "deletionTimestamp" in meta)
        before, self._seen[uid] = self._seen.get(uid), now
        return before != now

    def _touch(self) -> None:
        self._version += 1
        for agent in self._agents.values():
            agent.touch()

    def _touch_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._touch)

    def _state(self) -> State:
        """Compile the store once per version, however many nodes ask."""
        if self._cached is None or self._cached[0] != self._version:
            self._cached = (self._version, self._reader.read(self._connected))
        return self._cached[1]


def _run_directory() -> str | None:
    return "/run" if Path("/run").is_dir() else None
