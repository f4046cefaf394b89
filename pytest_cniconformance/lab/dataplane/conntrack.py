# SPDX-License-Identifier: Apache-2.0
"""What a node's conntrack must forget when Services change: it remembers paths longer than they are right."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import family_of
from pytest_cniconformance.lab.dataplane.helpers import run_helper
from pytest_cniconformance.lab.dataplane.seams import DataplaneError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_cniconformance.lab.dataplane.seams import Zygote
    from pytest_cniconformance.lab.dataplane.services import ServicePort

Flow = tuple[str, int, str, int]
"""Service address and port, endpoint address and port. No endpoint is ``("", 0)``: as stale, any."""

_log = logging.getLogger(__name__)


class Conntrack:
    """Forgets beside the programming of rules: a pod's start need not wait for it."""

    def __init__(
        self, zygote: Zygote, netns: str, node_addresses: Collection[str], faults: Collection[str]
    ) -> None:
        self._zygote = zygote
        self._netns = netns
        self._node_addresses = node_addresses
        self._faults = faults
        self._known: dict[str, set[Flow]] = {}
        self._stale: dict[str, set[Flow]] = {}
        self._task: asyncio.Task[None] | None = None

    def update(self, ports: Iterable[ServicePort]) -> None:
        """Begin to forget UDP paths that are gone, and silence about Services that now have endpoints."""
        if "udp-conntrack-stale" in self._faults:
            return
        ports = list(ports)
        found = _flows(ports, "udp", self._node_addresses)
        before, self._known["udp"] = self._known.get("udp", set()), found
        # What was sent to a Service before this node knew it went untranslated; no pass need have seen it empty.
        known = {flow[:2] for flow in before}
        self._forget(
            "udp", (before - found) | {(*flow[:2], "", 0) for flow in found if flow[:2] not in known}
        )
        if "connections-cut-on-change" in self._faults:
            found = _flows(ports, "tcp", self._node_addresses)
            before, self._known["tcp"] = self._known.get("tcp", set()), found
            had = {flow[:2] for flow in before}
            self._forget("tcp", {(*flow[:2], "", 0) for flow in before ^ found if flow[:2] in had})

    async def idle(self) -> None:
        """Return once everything stale is forgotten."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Give up what is not forgotten yet; the namespace goes with the lab."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _forget(self, protocol: str, stale: set[Flow]) -> None:
        if not stale:
            return
        self._stale.setdefault(protocol, set()).update(stale)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name=f"conntrack-{self._netns}")

    async def _work(self) -> None:
        try:
            while self._stale:
                protocol, stale = self._stale.popitem()
                arguments = {"flows": sorted(stale), "protocol": protocol}
                try:
                    await run_helper(self._zygote, self._netns, "forget", arguments)
                except DataplaneError:
                    _log.exception("node %s remembers what is gone", self._netns)
                    # It is tried again with the next change; at once, it would fail for the same reason.
                    self._stale.setdefault(protocol, set()).update(stale)
                    return
        finally:
            self._task = None


def _flows(
    ports: Iterable[ServicePort], protocol: str, node_addresses: Collection[str]
) -> set[tuple[str, int, str, int]]:
    """Give (service address, port, endpoint address, endpoint port) of every path of a protocol through a node.

    Conntrack remembers them longer than they are right. A Service without endpoints has the endpoint ``("", 0)``.
    """
    found: set[tuple[str, int, str, int]] = set()
    for port in ports:
        if port.protocol != protocol:
            continue
        fronts = [(ip, port.port) for ip in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)]
        if port.node_port is not None:
            fronts += [(ip, port.node_port) for ip in node_addresses if family_of(ip) == port.family]
        ends = [(e.ip, e.port) for e in port.endpoints] or [("", 0)]
        found |= {(*front, *end) for front in fronts for end in ends}
    return found
