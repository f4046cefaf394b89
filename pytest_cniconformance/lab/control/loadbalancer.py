# SPDX-License-Identifier: Apache-2.0
"""LoadBalancer Services, as MetalLB serves them in layer 2 mode.

The addresses go to ``status.loadBalancer.ingress``; the node that answers for them is elected and written to the
annotation ``lab.cniconformance/announced-by``, which the dataplane follows.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import Obj, clone, key_of, name_of, namespace_of
from pytest_cniconformance.lab.api.selectors import matches
from pytest_cniconformance.lab.control.base import Controller
from pytest_cniconformance.lab.control.endpoints import SERVICE_NAME, SLICES
from pytest_cniconformance.lab.control.events import Recorder
from pytest_cniconformance.lab.control.pools import Address, Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event, Store

ANNOUNCED_BY = "lab.cniconformance/announced-by"
ALLOCATED_FROM = "metallb.io/ip-allocated-from-pool"
POOLS = "ipaddresspools.metallb.io"
ADVERTISEMENTS = "l2advertisements.metallb.io"
CLASSES = (None, "metallb.io/metallb", "metallb.universe.tf/metallb")
_PREFIXES = ("metallb.io/", "metallb.universe.tf/")
_EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


class NoAddress(Exception):
    """No address can be given; the text is MetalLB's reason."""


class LoadBalancerController(Controller):
    """Gives addresses from MetalLB's pools and elects the announcing nodes."""

    resources = ("services", "nodes", SLICES, POOLS, ADVERTISEMENTS)

    def __init__(self, store: Store, faults: frozenset[str] = frozenset()) -> None:
        super().__init__(store)
        self._faults = faults
        self._held: dict[str, str] = {}
        self._ports: dict[str, Obj] = {}
        self._events = Recorder(store, "metallb-controller")
        self._speaker = Recorder(store, "metallb-speaker")

    def react(self, events: Sequence[Event]) -> None:
        """Bring every LoadBalancer Service up to date: there are few, and they compete for addresses."""
        pools = [Pool.of(obj) for obj in self.store.list(POOLS)]
        for service in self.store.list("services"):
            if service["metadata"].get("deletionTimestamp"):
                continue
            if service["spec"]["type"] == "LoadBalancer":
                if service["spec"].get("loadBalancerClass") in CLASSES or "lb-class-ignored" in self._faults:
                    self._serve(service, pools)
            elif "lb-status-kept" in self._faults:
                continue
            elif _addresses(service) or ANNOUNCED_BY in (service["metadata"].get("annotations") or {}):
                self._write(service, [], None, None)

    def _serve(self, service: Obj, pools: list[Pool]) -> None:
        if "lb-no-address" in self._faults:
            return
        before = _addresses(service)
        try:
            addresses, pool = self._allocate(service, pools, before)
        except NoAddress as failure:
            text = f'Failed to allocate IP for "{key_of(service)}": {failure}'
            if "lb-pending-silent" in self._faults:
                pass
            elif before or not self._events.has_recorded(service, "AllocationFailed", text):
                self._events.record(service, "AllocationFailed", text, warning=True)
            self._write(service, [], None, None)
            return
        self._held |= dict.fromkeys(addresses, key_of(service))
        node = self._elect(service, addresses, pool)
        written = self._write(service, addresses, pool, node)
        if addresses != before:
            shown = " ".join(f'"{address}"' for address in addresses)
            self._events.record(written, "IPAllocated", f"Assigned IP [{shown}]")
        announced = (service["metadata"].get("annotations") or {}).get(ANNOUNCED_BY)
        if node is not None and node != announced:
            text = f'announcing from node "{node}" with protocol "layer2"'
            self._speaker.record(written, "nodeAssigned", text)

    # --- addresses ---------------------------------------------------------------------------------------------

    def _allocate(self, service: Obj, pools: list[Pool], before: list[str]) -> tuple[list[str], Pool]:
        requested = [] if "lb-static-ignored" in self._faults else self._requested(service)
        wanted_pool = self._annotation(service, "address-pool")
        if not pools:
            raise NoAddress("no available IPs")
        candidates = self._candidates(service, pools, wanted_pool, bool(requested))
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        if self._moves(service):
            before, requested = [], []
        if before and (not requested or requested == before):
            kept = next(
                (pool for pool in candidates if all(ipaddress.ip_address(a) in pool for a in before)), None
            )
            if kept is not None and not any(self._taken(ipaddress.ip_address(a), service) for a in before):
                return before, kept
        if requested:
            return self._take_requested(service, requested, candidates)
        for pool in candidates:
            chosen = [
                next((one for one in pool.addresses(family) if self._free(one, service)), None)
                for family in families
            ]
            found = [str(one) for one in chosen if one is not None]
            if len(found) == len(families) or (
                found and service["spec"].get("ipFamilyPolicy") == "PreferDualStack"
            ):
                return found, pool
        if wanted_pool:
            raise NoAddress(f'no available IPs in pool "{wanted_pool}" for {_family_name(families)} IPFamily')
        raise NoAddress("no available IPs")

    def _candidates(self, service: Obj, pools: list[Pool], wanted: str, requested: bool) -> list[Pool]:
        namespace = self.store.get("namespaces", None, namespace_of(service)) or {"metadata": {}}
        if "lb-wrong-pool" in self._faults:
            others = [pool for pool in pools if wanted and pool.name != wanted]
            return others[-1:] or [_beyond(pools[0])]
        if wanted:
            named = [pool for pool in pools if pool.name == wanted]
            if not named and "lb-unknown-pool-ignored" in self._faults:
                named = pools
            if not named:
                raise NoAddress(f'unknown pool "{wanted}"')
            return named
        usable = [
            pool for pool in pools if (pool.auto_assign or requested) and pool.serves(service, namespace)
        ]
        if "lb-autoassign-ignored" in self._faults:
            usable = sorted(pools, key=lambda pool: pool.auto_assign)[:1]
        pinned_first = sorted(usable, key=lambda pool: (pool.allocation is None, pool.priority, pool.name))
        return pinned_first

    def _take_requested(
        self, service: Obj, requested: list[str], pools: list[Pool]
    ) -> tuple[list[str], Pool]:
        pool = None
        for text in requested:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise NoAddress(f'invalid spec.loadBalancerIP "{text}"') from None
            pool = next((one for one in pools if address in one), None)
            if pool is None:
                raise NoAddress(f'["{text}"] is not allowed in config')
            if holder := self._taken(address, service):
                raise NoAddress(
                    f'can\'t change sharing key for "{key_of(service)}", address also in use by {holder}'
                )
        assert pool is not None
        return requested, pool

    def _moves(self, service: Obj) -> bool:
        """Whether a Service that changed must give up its address (for the fault lb-address-moves)."""
        if "lb-address-moves" not in self._faults:
            return False
        uid, spec = service["metadata"]["uid"], service["spec"].get("ports")
        before, self._ports[uid] = self._ports.get(uid, spec), spec
        return bool(before != spec)

    def _free(self, address: Address, service: Obj) -> bool:
        """Whether a Service that asks for no certain address may have this one."""
        if "lb-address-moves" in self._faults and str(address) in _addresses(service):
            return False
        return "lb-duplicate-address" in self._faults or not self._taken(address, service)

    def _taken(self, address: Address, service: Obj) -> str:
        """Return the Service that holds an address and does not share it with this one; empty when free."""
        holder = self._held.get(str(address), key_of(service))
        if "lb-never-released" in self._faults and holder != key_of(service):
            return holder
        for other in self.store.list("services"):
            if key_of(other) == key_of(service) or str(address) not in _addresses(other):
                continue
            if other["spec"]["type"] == "LoadBalancer" and not self._may_share(service, other):
                return key_of(other)
        return ""

    # --- what Services ask for ---------------------------------------------------------------------------------

    def _annotation(self, service: Obj, name: str) -> str:
        annotations = service["metadata"].get("annotations") or {}
        prefixes = _PREFIXES[:1] if "lb-old-annotations-ignored" in self._faults else _PREFIXES
        return next(
            (str(annotations[prefix + name]) for prefix in prefixes if annotations.get(prefix + name)), ""
        )

    def _requested(self, service: Obj) -> list[str]:
        text = self._annotation(service, "loadBalancerIPs") or service["spec"].get("loadBalancerIP") or ""
        return [one.strip() for one in text.split(",") if one.strip()]

    def _may_share(self, service: Obj, other: Obj) -> bool:
        """Whether two Services may have one address (https://metallb.io/usage/#ip-address-sharing)."""
        key = self._annotation(service, "allow-shared-ip")
        same = bool(key) and key == self._annotation(other, "allow-shared-ip")
        if "lb-sharing-refused" in self._faults or not (same or "lb-sharing-key-ignored" in self._faults):
            return False
        mine, theirs = service["spec"], other["spec"]
        ports = {(port["protocol"], port["port"]) for port in mine.get("ports") or ()}
        if ports & {(port["protocol"], port["port"]) for port in theirs.get("ports") or ()}:
            return "lb-shared-conflict" in self._faults
        cluster = mine.get("externalTrafficPolicy") == theirs.get("externalTrafficPolicy") == "Cluster"
        return bool(cluster or mine.get("selector") == theirs.get("selector"))

    # --- announcing --------------------------------------------------------------------------------------------

    def _elect(self, service: Obj, addresses: list[str], pool: Pool) -> str | None:
        """Return the node that answers for the Service's addresses, None when no node may."""
        annotations = service["metadata"].get("annotations") or {}
        if "lb-failover-never" in self._faults and (first := annotations.get(ANNOUNCED_BY)):
            return str(first)
        local = service["spec"].get("externalTrafficPolicy") == "Local"
        if "lb-local-election" in self._faults:
            local = False
        ready = self._nodes_with_ready_endpoints(service)
        if not ready:
            return None
        eligible = [
            name_of(node)
            for node in self.store.list("nodes")
            if _is_ready(node)
            and _EXCLUDED not in (node["metadata"].get("labels") or {})
            and self._advertises(pool, node)
            and (not local or name_of(node) in ready)
        ]

        def rank(node: str) -> bytes:
            return hashlib.sha256(f"{node}#{addresses[0]}".encode()).digest()

        return min(eligible, key=rank, default=None)

    def _nodes_with_ready_endpoints(self, service: Obj) -> set[str]:
        found: set[str] = set()
        for one in self.store.list(SLICES, namespace_of(service)):
            if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == name_of(service):
                for endpoint in one.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        found.add(endpoint.get("nodeName", ""))
        return found

    def _advertises(self, pool: Pool, node: Obj) -> bool:
        labels = node["metadata"].get("labels") or {}
        for obj in self.store.list(ADVERTISEMENTS):
            spec = obj.get("spec") or {}
            names, selectors = spec.get("ipAddressPools") or (), spec.get("ipAddressPoolSelectors") or ()
            covers = (
                (not names and not selectors)
                or pool.name in names
                or any(matches(selector, pool.labels) for selector in selectors)
            )
            nodes = spec.get("nodeSelectors") or ()
            if covers and (not nodes or any(matches(selector, labels) for selector in nodes)):
                return True
        return False

    def _write(self, service: Obj, addresses: list[str], pool: Pool | None, node: str | None) -> Obj:
        changed = clone(service)
        annotations = changed["metadata"].setdefault("annotations", {})
        for name, value in ((ANNOUNCED_BY, node), (ALLOCATED_FROM, pool.name if pool else None)):
            if value is None:
                annotations.pop(name, None)
            else:
                annotations[name] = value
        if not annotations:
            del changed["metadata"]["annotations"]
        ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
        changed["status"] = {
            **changed.get("status", {}),
            "loadBalancer": {"ingress": ingress} if ingress else {},
        }
        return self.store.update("services", changed)


def _addresses(service: Obj) -> list[str]:
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return [one["ip"] for one in ingress if one.get("ip")]


def _is_ready(node: Obj) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _beyond(pool: Pool) -> Pool:
    """Return a pool of the addresses right after a pool's end (for the fault lb-wrong-pool)."""
    _, last = pool.ranges[-1]
    return Pool(pool.name, pool.labels, ((last + 1, last + 16),), True, False, pool.priority, None)


def _family_name(families: Sequence[str]) -> str:
    return "dual" if len(families) > 1 else families[0].lower()
