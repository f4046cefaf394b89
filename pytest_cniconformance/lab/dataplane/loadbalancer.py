# SPDX-License-Identifier: Apache-2.0
"""Which nodes answer for a load-balancer address on the underlay.

The load-balancer controller elects, as MetalLB's speakers do at layer 2, and writes the node's name to an
annotation; here the elected node only gets to answer ARP and neighbour discovery. Without the annotation nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj, Store

ANNOUNCED_BY = "lab.cniconformance/announced-by"


class Announcements:
    """Maps addresses to nodes; remembers them only as far as a fault makes it."""

    def __init__(self, store: Store, faults: Collection[str]) -> None:
        self._store, self._faults = store, faults
        self._kept: dict[str, tuple[str, ...]] = {}

    def owners(self, services: Iterable[Obj]) -> dict[str, tuple[str, ...]]:
        """Return the nodes, one in a sound cluster, that answer for each announced address."""
        if "lb-not-announced" in self._faults:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for service in services:
            node = (service["metadata"].get("annotations") or {}).get(ANNOUNCED_BY)
            status = (service.get("status") or {}).get("loadBalancer") or {}
            if node:
                # Services that share an address agree on the node; the first one is as good as the other.
                for entry in status.get("ingress") or []:
                    if entry.get("ip"):
                        found.setdefault(entry["ip"], self._announcers(node))
        if "lb-announcement-kept" in self._faults:
            self._kept |= found
            return self._kept
        return found

    def _announcers(self, node: str) -> tuple[str, ...]:
        if "lb-announced-by-two" not in self._faults:
            return (node,)
        names = [one["metadata"]["name"] for one in self._store.list("nodes")]
        return node, next((other for other in names if other != node), node)
