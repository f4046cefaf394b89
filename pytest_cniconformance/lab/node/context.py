# SPDX-License-Identifier: Apache-2.0
"""What the kubelets of a lab share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_cniconformance.lab.api.objects import Obj
from pytest_cniconformance.lab.api.store import Store
from pytest_cniconformance.lab.dataplane.addressing import Plan
from pytest_cniconformance.lab.node.netns import NetnsSockets
from pytest_cniconformance.lab.node.runner import ZygoteRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.dataplane.seams import PodNet


class PodNetwork(Protocol):
    """The part of the dataplane that a kubelet calls."""

    async def pods_added(self, node: str, pods: Sequence[PodNet]) -> None:
        """Connect pods; returns once links, addresses and policy are in place."""
        ...

    async def pods_removed(self, node: str, pods: Sequence[PodNet]) -> None:
        """Disconnect pods and delete their network namespaces."""
        ...


@dataclass
class Cluster:
    """One lab cluster, as its kubelets see it."""

    store: Store
    runner: ZygoteRunner
    dataplane: PodNetwork
    plan: Plan
    sockets: NetnsSockets
    token: Callable[[Obj], str]
    """Makes the service account token of a pod."""
    cluster_dns: tuple[str, ...]
    upstream_dns: tuple[str, ...]
    path: str
    """PATH of containers."""
    rootless: bool = False
    faults: Collection[str] = frozenset()
    directory: Path = Path("/run/lab/pods")
    config_changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def config_change(self) -> None:
        """Wait until a ConfigMap or Secret changes."""
        await self.config_changed.wait()

    def announce_config_change(self) -> None:
        """Wake everybody who waits for a ConfigMap or Secret."""
        self.config_changed.set()
        self.config_changed = asyncio.Event()


class ConfigError(Exception):
    """Something that a pod refers to is missing or wrong; it may appear later."""
