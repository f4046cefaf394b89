# SPDX-License-Identifier: Apache-2.0
"""The parts put together: watches feed the cluster's copy, listeners answer from it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from pytest_cniconformance.lab.dns.api import Api, Watcher
from pytest_cniconformance.lab.dns.cluster import Cluster, Obj
from pytest_cniconformance.lab.dns.responder import Responder
from pytest_cniconformance.lab.dns.server import Listeners
from pytest_cniconformance.lab.dns.upstream import Address, Upstream
from pytest_cniconformance.lab.dns.zone import Zone

LATE_SECONDS = 3.0
"""How long a change stays unseen where records come late."""


def to_stderr(line: str) -> None:
    """Write a line of the pod's log."""
    print(f"dns: {line}", file=sys.stderr, flush=True)


class DnsService:
    """A DNS server of one cluster."""

    def __init__(
        self,
        *,
        api: str,
        token_file: str = "",
        ca_file: str = "",
        domain: str = "cluster.local",
        upstreams: Sequence[Address] = (),
        stubs: Mapping[str, Address] | None = None,
        faults: frozenset[str] = frozenset(),
        ttl: int = 5,
        upstream_timeout: float = 2.0,
    ) -> None:
        self.cluster = Cluster(faults)
        self.listening: list[Address] = []
        self._faults = faults
        self._responder = Responder(
            Zone(self.cluster, domain, ttl=ttl, faults=faults, synced=lambda: self.synced),
            Upstream(
                [] if "dns-external-blocked" in faults else list(upstreams),
                {} if "dns-stub-ignored" in faults else dict(stubs or {}),
                timeout=upstream_timeout,
            ),
            faults=faults,
        )
        self._listeners = Listeners()
        server = Api(api, token_file=token_file, ca_file=ca_file)
        cluster = self.cluster
        resources = [
            ("/api/v1/services", cluster.replace_services, cluster.change_service),
            ("/apis/discovery.k8s.io/v1/endpointslices", cluster.replace_slices, cluster.change_slice),
        ]
        if "dns-nxdomain-cross-namespace" in faults:
            resources.append(("/api/v1/pods", cluster.replace_pods, cluster.change_pod))
        self._watchers = [
            Watcher(server, path, replace=replace, change=self._late(change), log=to_stderr)
            for path, replace, change in resources
        ]

    def _late(self, change: Callable[[str, Obj], None]) -> Callable[[str, Obj], None]:
        """Return what takes over a change: at once, or seconds later (for the fault dns-late-records)."""
        if "dns-late-records" not in self._faults:
            return change

        def later(event: str, item: Obj) -> None:
            timer = threading.Timer(LATE_SECONDS, change, (event, item))
            timer.daemon = True
            timer.start()

        return later

    @property
    def synced(self) -> bool:
        """Whether every resource has been listed at least once."""
        return all(watcher.synced.is_set() for watcher in self._watchers)

    def start(self, *, dns: Sequence[Address], health: Address | None, ready: Address | None) -> None:
        """Listen and begin to watch; return without waiting for the first list.

        Raises:
            OSError: an address cannot be had.
        """
        for watcher in self._watchers:
            watcher.start()
        broken = "dns-tcp-broken" in self._faults
        self.listening = [self._listeners.dns(address, self._responder, tcp_broken=broken) for address in dns]
        if health is not None:
            self.health = self._listeners.http(health, "/health", lambda: True)
        if ready is not None:
            self.ready = self._listeners.http(ready, "/ready", lambda: self.synced)
        where = ", ".join(f"{host}:{port}" for host, port in self.listening)
        to_stderr(f"serving on {where}; faults: {', '.join(sorted(self._faults)) or 'none'}")

    def stop(self) -> None:
        """Stop listening and watching."""
        for watcher in self._watchers:
            watcher.stop()
        self._listeners.close()
