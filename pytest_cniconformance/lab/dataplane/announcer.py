# SPDX-License-Identifier: Apache-2.0
"""One node's side of announcing load-balancer addresses: it takes them on its uplink and tells the neighbours."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import family_of
from pytest_cniconformance.lab.dataplane.commands import Batch
from pytest_cniconformance.lab.dataplane.helpers import run_helper
from pytest_cniconformance.lab.dataplane.seams import DataplaneError

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_cniconformance.lab.dataplane.commands import Commands
    from pytest_cniconformance.lab.dataplane.seams import Zygote

_AGAIN = (0.3, 1.5)
"""Seconds until an address is announced again. The node that had it before may have answered a neighbour after the
first announcement; MetalLB repeats for the same reason."""
_DEVICE = "eth0"
_log = logging.getLogger(__name__)


class Announcer:
    """Keeps the addresses of one node's uplink equal to what it shall answer for."""

    def __init__(self, zygote: Zygote, commands: Commands, node: str, faults: Collection[str]) -> None:
        self._zygote, self._commands, self._node, self._faults = zygote, commands, node, faults
        self._announced: set[str] = set()
        self._repeats: set[asyncio.Task[None]] = set()

    async def update(self, addresses: set[str]) -> None:
        """Give up addresses that are no longer the node's, take the new ones and announce them."""
        gone, new = self._announced - addresses, addresses - self._announced
        if not gone and not new:
            return
        batch = Batch()
        for ip, verb in [(ip, "del") for ip in sorted(gone)] + [(ip, "replace") for ip in sorted(new)]:
            bits = "32" if family_of(ip) == "ipv4" else "128"
            nodad = " nodad" if verb == "replace" and bits == "128" else ""
            batch.ip.append(f"addr {verb} {ip}/{bits} dev {_DEVICE}{nodad}")
        if "lb-answers-nobody" in self._faults:
            await self._fall_silent(new)
        await self._commands.run(self._node, batch, what="announcing load-balancer addresses")
        self._announced = addresses
        if new:
            await self._tell(new)
            task = asyncio.create_task(self._repeat(new), name=f"announcements of {self._node}")
            self._repeats.add(task)
            task.add_done_callback(self._repeats.discard)

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._repeats:
            task.cancel()
        await asyncio.gather(*self._repeats, return_exceptions=True)

    async def _fall_silent(self, addresses: set[str]) -> None:
        """Answer no ARP request for the addresses: those reach them who heard the announcement, for a while."""
        for ip in sorted(addresses):
            if family_of(ip) == "ipv4":
                table = f"arp silent-{ip.replace('.', '-')}"
                rule = f"arp operation request arp daddr ip {ip} drop"
                script = (
                    f"add table {table}\n"
                    f"add chain {table} input {{ type filter hook input priority 0; }}\n"
                    f"flush chain {table} input\n"
                    f"add rule {table} input {rule}\n"
                )
                await self._commands.nft(self._node, script, what="a fault")

    async def _repeat(self, addresses: set[str]) -> None:
        for seconds in _AGAIN:
            await asyncio.sleep(seconds)
            try:
                await self._tell(addresses & self._announced)
            except DataplaneError as error:
                _log.warning("%s", error)

    async def _tell(self, addresses: set[str]) -> None:
        if addresses:
            wanted = {"device": _DEVICE, "addresses": sorted(addresses)}
            await run_helper(self._zygote, self._node, "announce", wanted)
