# SPDX-License-Identifier: Apache-2.0
"""What the store says at one moment, compiled as far as it is the same for all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane import ciliumpolicy, networkpolicy
from pytest_cniconformance.lab.dataplane.agentcache import NETWORK_POLICIES, AgentCache
from pytest_cniconformance.lab.dataplane.hostports import HostPort, host_ports
from pytest_cniconformance.lab.dataplane.loadbalancer import Announcements
from pytest_cniconformance.lab.dataplane.misreadings import misread
from pytest_cniconformance.lab.dataplane.policy import Policy
from pytest_cniconformance.lab.dataplane.policyfaults import overdone, semantics_of
from pytest_cniconformance.lab.dataplane.servicefaults import ServiceFaults
from pytest_cniconformance.lab.dataplane.services import ServicePort, service_ports
from pytest_cniconformance.lab.dataplane.timing import Timing
from pytest_cniconformance.lab.dataplane.view import View, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pytest_cniconformance.lab.dataplane.seams import PodNet, Store

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
    announced: Mapping[str, tuple[str, ...]]


class StateReader:
    """Reads the store; what concerns policies, as the policy agent knows it."""

    def __init__(
        self, profile: str, store: Store, faults: Collection[str], wake_later: Callable[[float], None]
    ) -> None:
        self._profile = profile
        self._store = store
        self._faults = faults
        self._distort = ServiceFaults(faults)
        self._announcements = Announcements(store, faults)
        self._cache = AgentCache(store, faults)
        self._timing = Timing(faults, wake_later)

    def read(self, connected: Mapping[str, tuple[str, PodNet]]) -> State:
        """Compile the present content of the store."""
        services = self._store.list("services")
        believed = self._cache.connected(connected)
        slices = self._distort.slices(self._store.list(ENDPOINT_SLICES))
        policies = tuple(self._policies())
        young = self._timing.young(connected, policies=bool(policies))
        view, policies = self._timing.noticed(snapshot(self._cache.list, believed, young), policies)
        return State(
            view=view,
            policies=policies,
            ports=tuple(self._distort.ports(services, service_ports(services, slices))),
            host_ports=host_ports(self._store.list("pods"), connected, self._faults),
            announced=self._announcements.owners(services),
        )

    def _policies(self) -> list[Policy]:
        semantics = semantics_of(self._profile, self._faults)
        if semantics is None or "policies-ignored" in self._faults:
            return []
        policies = [
            networkpolicy.parse({**obj, "spec": misread(obj["spec"], self._faults)}, semantics)
            for obj in self._cache.list(NETWORK_POLICIES)
        ]
        if self._profile == "cilium":
            for resource in CILIUM_POLICIES:
                for obj in self._cache.list(resource):
                    policies += ciliumpolicy.parse(obj, self._faults)
        return overdone(policies, self._faults)
