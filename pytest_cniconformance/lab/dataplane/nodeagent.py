# SPDX-License-Identifier: Apache-2.0
"""One node's agent: keeps the kernel of its namespace equal to the wanted state, one transaction at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.announcer import Announcer
from pytest_cniconformance.lab.dataplane.commands import Commands
from pytest_cniconformance.lab.dataplane.conntrack import Conntrack
from pytest_cniconformance.lab.dataplane.healthchecks import HealthChecks
from pytest_cniconformance.lab.dataplane.kubeproxy import proxy_tables
from pytest_cniconformance.lab.dataplane.l7 import NodeProxy, add_redirects
from pytest_cniconformance.lab.dataplane.nft import Table, transition
from pytest_cniconformance.lab.dataplane.policyfaults import semantics_of
from pytest_cniconformance.lab.dataplane.policytable import PolicyTable
from pytest_cniconformance.lab.dataplane.seams import DataplaneError
from pytest_cniconformance.lab.dataplane.selfblock import SelfBlocker
from pytest_cniconformance.lab.dataplane.servicefaults import SYSTEM_NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses, Plan
    from pytest_cniconformance.lab.dataplane.profiles import Profile
    from pytest_cniconformance.lab.dataplane.seams import PodNet, Zygote
    from pytest_cniconformance.lab.dataplane.state import State

_FLAP_SECONDS = 1.2  # long enough that a second SYN is lost too
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)

_RELOAD = 0.2
"""Seconds that a fault leaves a node without policies whenever they are programmed anew."""


class NodeAgent:
    """Programs Services, policies and announcements of one node.

    ``sync()`` may be called by many at once: callers that come while a pass is under way share the next one.
    """

    def __init__(
        self,
        zygote: Zygote,
        plan: Plan,
        node: NodeAddresses,
        profile: Profile,
        faults: Collection[str],
        read: Callable[[], State],
        connected: Mapping[str, tuple[str, PodNet]],
        directory: Path,
    ) -> None:
        self.node = node
        self._zygote = zygote
        self._commands = Commands(zygote)
        self._plan = plan
        self._profile = profile
        self._faults = faults
        self._read = read
        self._connected = connected
        self._applied: dict[str, Table | None] = {}
        self._conntrack = Conntrack(zygote, node.name, [node.underlay(f) for f in plan.families], faults)
        self._health = HealthChecks(zygote, node.name, faults)
        self._announcer = Announcer(zygote, self._commands, node.name, faults)
        self._proxy = NodeProxy(zygote, node.name, directory, plan, faults)
        self._self_blocker = SelfBlocker(self._commands, faults)
        self._asked = 0
        self._done = 0
        self._error: DataplaneError | None = None
        self._wake = asyncio.Event()
        self._passed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow; the node's namespace has to be there."""
        self._task = asyncio.create_task(self._run(), name=f"dataplane-{self.node.name}")

    async def stop(self) -> None:
        """Stop following and end the node's proxy."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._conntrack.stop()
        await self._announcer.stop()
        await self._proxy.stop()

    def touch(self) -> None:
        """Say that something may have changed."""
        self._asked += 1
        self._wake.set()

    async def sync(self) -> None:
        """Return once a pass that began after this call has been applied. Raises DataplaneError."""
        self.touch()
        mine = self._asked
        async with self._passed:
            await self._passed.wait_for(lambda: self._done >= mine)
            if self._error:
                raise self._error

    async def settled(self) -> None:
        """Return once the present state is programmed, and what it makes stale is forgotten. Raises DataplaneError."""
        await self.sync()
        await self._conntrack.idle()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0.001)  # let a burst of events become one transaction
            asked, error = self._asked, None
            try:
                await self._pass()
            except DataplaneError as problem:
                _log.error("%s", problem)
                error = problem
            except Exception as problem:
                _log.exception("node %s cannot be programmed", self.node.name)
                error = DataplaneError(
                    f"programming node {self.node.name}: {type(problem).__name__}: {problem}"
                )
            if error is not None:
                # Nothing may ever touch this node again, and it must not stay as it is.
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.touch)
            async with self._passed:
                self._done, self._error = asked, error
                self._passed.notify_all()

    async def _pass(self) -> None:
        state = self._read()
        tables = proxy_tables(
            self.node,
            self._plan.families,
            state.ports,
            state.host_ports,
            self._faults,
            last_node=self.node == self._plan.nodes[-1] and len(self._plan.nodes) > 1,
            zone=self.node.zone if self._profile.follows_hints else "",
        )
        semantics = semantics_of(self._profile.name, self._faults)
        isolated: set[str] = set()
        if semantics is not None:
            compiled = PolicyTable(
                state.view,
                self._plan,
                self.node,
                semantics,
                self._faults,
                self._profile.interface,
                self._profile.tunnel,
                self._profile.prefix,
            )
            tables.append(compiled.build(state.policies))
            add_redirects(compiled)
            if "reload-fails-open" in self._faults and compiled.table != self._applied.get(
                compiled.table.name
            ):
                await self._apply([*tables[:-1], Table(compiled.table.name)])
                await asyncio.sleep(_RELOAD)
            isolated = compiled.isolated
            await self._proxy.update(compiled)
        if "service-rules-flap" in self._faults and any(
            p.namespace not in SYSTEM_NAMESPACES for p in state.ports
        ):
            await self._flap(tables)
        await self._apply(tables)
        await self._self_blocker.update(
            {net.netns: net for node, net in self._connected.values() if node == self.node.name}, isolated
        )
        self._conntrack.update(state.ports)
        await self._health.update(
            {p.health_port: p.ready_on(self.node.name) for p in state.ports if p.health_port}
        )
        await self._announcer.update(
            {ip for ip, owners in state.announced.items() if self.node.name in owners}
        )

    async def _apply(self, tables: list[Table]) -> None:
        script = "".join(transition(self._applied.get(table.name), table) for table in tables)
        if script:
            try:
                await self._commands.nft(self.node.name, script, what="programming rules")
            except DataplaneError:
                # The kernel took nothing of it. Next time every table is written anew.
                self._applied = dict.fromkeys(self._applied)
                raise
        self._applied = {table.name: table for table in tables}

    async def _flap(self, tables: list[Table]) -> None:
        """Take the proxy's rules away for a moment before the new ones come, where they change."""
        for table in tables:
            old = self._applied.get(table.name)
            if table.name.endswith("kube-proxy") and old is not None and transition(old, table):
                await self._commands.nft(self.node.name, f"delete table {table.name}\n", what="a fault")
                self._applied[table.name] = None
                await asyncio.sleep(_FLAP_SECONDS)
