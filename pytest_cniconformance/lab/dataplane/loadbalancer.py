# SPDX-License-Identifier: Apache-2.0
"""Which node answers for a load-balancer address on the underlay.

The load-balancer controller elects, as MetalLB's speakers do at layer 2, and writes the node's name to an
annotation; here the elected node only gets to answer ARP. Without the annotation nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj

ANNOUNCED_BY = "lab.cniconformance/announced-by"


def owners(services: Iterable[Obj], faults: Collection[str]) -> dict[str, str]:
    """Map each announced address to the one node that answers for it."""
    if "lb-not-announced" in faults:
        return {}
    found: dict[str, str] = {}
    for service in services:
        node = (service["metadata"].get("annotations") or {}).get(ANNOUNCED_BY)
        status = (service.get("status") or {}).get("loadBalancer") or {}
        if node:
            # Services that share an address agree on the node; the first one is as good as the other.
            for entry in status.get("ingress") or []:
                if entry.get("ip"):
                    found.setdefault(entry["ip"], node)
    return found
