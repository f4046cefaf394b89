# SPDX-License-Identifier: Apache-2.0
"""Which node answers for a load-balancer address on the underlay, as MetalLB's speakers do at layer 2.

The controller that assigns addresses may name the node in the annotation below; without it the speakers' own rule
decides: the lowest hash of node name and address among the nodes that may serve.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_cniconformance.lab.dataplane.seams import Obj
    from pytest_cniconformance.lab.dataplane.services import ServicePort

ANNOUNCING_NODE = "lab.cniconformance/announcing-node"


def owners(
    services: Iterable[Obj], ports: Iterable[ServicePort], nodes: Collection[str], faults: Collection[str]
) -> dict[str, str]:
    """Map each announced address to the one node that answers for it."""
    if "lb-not-announced" in faults:
        return {}
    wished = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): node
        for item in services
        if (node := (item["metadata"].get("annotations") or {}).get(ANNOUNCING_NODE))
    }
    candidates: dict[str, set[str]] = {}
    wishes: dict[str, str] = {}
    for port in ports:
        with_endpoints = {e.node for e in port.endpoints if e.node}
        if not with_endpoints:
            continue  # MetalLB withdraws an address that nobody would answer
        able = with_endpoints & set(nodes) if port.external_local else set(nodes)
        for address in port.load_balancer_ips:
            candidates[address] = candidates.get(address, able) & able
            if wish := wished.get((port.namespace, port.name)):
                wishes[address] = wish
    chosen = {}
    for address, able in candidates.items():
        wish = wishes.get(address)
        if wish in able:
            chosen[address] = wish
        elif able:
            chosen[address] = min(
                able, key=lambda node: hashlib.sha256(f"{node}#{address}".encode()).digest()
            )
    return {address: node for address, node in chosen.items() if node}
