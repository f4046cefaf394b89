# SPDX-License-Identifier: Apache-2.0
"""Which pod gets which address: per node, unique, and not used again at once unless a pod asks for it."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import namespace_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.dataplane.addressing import Plan

_FIRST, _LAST = 2, 253  # .0 and .1 belong to the dataplane; the same numbers serve both families


@dataclass(frozen=True, slots=True)
class _Lease:
    node: str
    number: int
    namespace: str
    ips: tuple[str, ...]
    spoilt: bool = False


class Allocator:
    """The addresses of all nodes' pods. Its two faults spare kube-system, so that the lab comes up.

    ``pod-ip-duplicate`` gives, once per namespace, a pod the address of a pod on another node;
    ``pod-ip-outside-cidr`` gives pods addresses from a range that belongs to no node. ``annotation`` is the one by
    which pods ask for addresses, as a JSON list; empty where the CNI has none.
    """

    def __init__(self, plan: Plan, faults: Collection[str] = (), *, annotation: str = "") -> None:
        self._plan = plan
        self._annotation = annotation
        self._faults = faults
        # A freed number goes to the end of the queue: a stale connection or rule of a deleted pod must not
        # meet a new pod under the old address.
        self._free = {node.name: deque(range(_FIRST, _LAST + 1)) for node in plan.nodes}
        self._taken: dict[str, _Lease] = {}  # by pod uid

    def take(self, node: str, pod: Obj) -> tuple[str, ...] | None:
        """Return one address per family, or None while the node's range is used up or what the pod wants is taken."""
        free = self._free[node]
        asked = (pod["metadata"].get("annotations") or {}).get(self._annotation)
        number = self._asked(node, asked) if asked else next(iter(free), None)
        if number is None or number not in free:
            return None
        free.remove(number)
        networks = [self._plan.node(node).pod_cidr(family) for family in self._plan.families]
        ips = tuple(str(network.network_address + number) for network in networks)
        lease = _Lease(node, number, namespace_of(pod), ips)
        if lease.namespace != "kube-system":
            lease = self._spoil(lease)
        self._taken[pod["metadata"]["uid"]] = lease
        return lease.ips

    def _asked(self, node: str, text: str) -> int | None:
        """Return the number of the address that a pod asks for, None if no pod of this node can have it."""
        with suppress(ValueError, IndexError, TypeError):
            address = ip_address(json.loads(text)[0])
            network = self._plan.node(node).pod_cidr(f"ipv{address.version}")
            if address in network:
                return int(address) - int(network.network_address)
        return None

    def give_back(self, uid: str) -> None:
        """Free what ``take`` gave to the pod with this uid."""
        lease = self._taken.pop(uid)
        self._free[lease.node].append(lease.number)

    def _spoil(self, lease: _Lease) -> _Lease:
        if "pod-ip-duplicate" in self._faults:
            neighbours = [other for other in self._taken.values() if other.namespace == lease.namespace]
            if not any(other.spoilt for other in neighbours):
                for other in neighbours:
                    if other.node != lease.node:
                        return replace(lease, ips=other.ips, spoilt=True)
        if "pod-ip-outside-cidr" in self._faults:
            index, number = self._plan.node(lease.node).index, lease.number
            outside = {
                "ipv4": f"10.244.{200 + index % 50}.{number}",
                "ipv6": f"fd00:10:244:{0x200 + index:x}::{number:x}",
            }
            return replace(lease, ips=tuple(outside[family] for family in self._plan.families), spoilt=True)
        return lease
