# SPDX-License-Identifier: Apache-2.0
"""What the store says at one moment, compiled as far as it is the same for all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane import ciliumpolicy, networkpolicy
from pytest_cniconformance.lab.dataplane.hostports import HostPort, host_ports
from pytest_cniconformance.lab.dataplane.loadbalancer import owners
from pytest_cniconformance.lab.dataplane.policy import SEMANTICS, Policy
from pytest_cniconformance.lab.dataplane.servicefaults import ServiceFaults
from pytest_cniconformance.lab.dataplane.services import ServicePort, service_ports
from pytest_cniconformance.lab.dataplane.timing import Timing
from pytest_cniconformance.lab.dataplane.view import View, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet, Store

NETWORK_POLICIES = "networkpolicies.networking.k8s.io"
CILIUM_POLICIES = ("ciliumnetworkpolicies.cilium.io", "ciliumclusterwidenetworkpolicies.cilium.io")
ENDPOINT_SLICES = "endpointslices.discovery.k8s.io"
RESOURCES = ("namespaces", "pods", "services", ENDPOINT_SLICES, NETWORK_POLICIES, *CILIUM_POLICIES)


@dataclass(frozen=True)
class State:
    """One compiled moment."""

    view: View
    policies: tuple[Policy, ...]
    ports: tuple[ServicePort, ...]
    host_ports: tuple[HostPort, ...]
    announced: Mapping[str, str]


class StateReader:
    """Reads the store. Remembers policies only as far as a fault makes it."""

    def __init__(
        self, profile: str, store: Store, faults: Collection[str], wake_later: Callable[[float], None]
    ) -> None:
        self._profile = profile
        self._store = store
        self._faults = faults
        self._distort = ServiceFaults(faults)
        self._remembered: dict[str, Obj] = {}
        self._timing = Timing(faults, wake_later)

    def read(self, connected: Mapping[str, tuple[str, PodNet]]) -> State:
        """Compile the present content of the store."""
        services = self._store.list("services")
        slices = self._distort.slices(self._store.list(ENDPOINT_SLICES))
        policies = tuple(self._policies())
        young = self._timing.young(connected, policies=bool(policies))
        view, policies = self._timing.noticed(snapshot(self._store, connected, young), policies)
        return State(
            view=view,
            policies=policies,
            ports=tuple(self._distort.ports(services, service_ports(services, slices))),
            host_ports=host_ports(self._store.list("pods"), connected, self._faults),
            announced=owners(services, self._faults),
        )

    def _policies(self) -> list[Policy]:
        semantics = SEMANTICS.get(self._profile)
        if semantics is None or "policies-ignored" in self._faults:
            return []
        policies = [
            networkpolicy.parse(obj, semantics, self._faults) for obj in self._objects(NETWORK_POLICIES)
        ]
        if self._profile == "cilium":
            for resource in CILIUM_POLICIES:
                for obj in self._objects(resource):
                    policies += ciliumpolicy.parse(obj, self._faults)
        return policies

    def _objects(self, resource: str) -> Sequence[Obj]:
        present = self._store.list(resource)
        if not {"stale-after-delete", "update-ignored"} & set(self._faults):
            return present
        found: dict[str, Obj] = {self._identity(resource, obj): obj for obj in present}
        if "update-ignored" in self._faults:
            for key in found:
                found[key] = self._remembered.setdefault(key, found[key])
        if "stale-after-delete" in self._faults:
            self._remembered.update(found)
            alive = {item["metadata"]["name"] for item in self._store.list("namespaces")}
            for key, obj in self._remembered.items():
                if key.startswith(f"{resource}/") and obj["metadata"].get("namespace") in alive:
                    found.setdefault(key, obj)
        return list(found.values())

    @staticmethod
    def _identity(resource: str, obj: Obj) -> str:
        meta: dict[str, Any] = obj["metadata"]
        return f"{resource}/{meta.get('namespace', '')}/{meta['name']}/{meta.get('uid', '')}"
