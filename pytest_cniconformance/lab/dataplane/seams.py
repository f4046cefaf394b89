# SPDX-License-Identifier: Apache-2.0
"""What the dataplane needs from the rest of the lab, and what it offers to the kubelets.

Everything here is a Protocol or a plain value, so that the dataplane can be built and tested with stand-ins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

Obj = dict[str, Any]
"""One Kubernetes object, as its JSON. Never changed in place."""


class DataplaneError(Exception):
    """A kernel command of the dataplane failed; the message holds the command's own complaint."""


class Zygote(Protocol):
    """Runs short commands in network namespaces of the lab."""

    async def run(
        self, argv: Sequence[str], stdin: bytes = b"", netns: str | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run ``argv`` in the named network namespace (None: the daemon's own); (exit code, out, err)."""
        ...


class StoreEvent(Protocol):
    """A change of one stored object."""

    @property
    def type(self) -> str:
        """ADDED, MODIFIED or DELETED."""
        ...

    @property
    def resource(self) -> str:
        """The resource, such as ``pods``."""
        ...

    @property
    def object(self) -> Obj:
        """The object after the change (before it, when deleted)."""
        ...


class Store(Protocol):
    """The part of the API server's store that the dataplane reads."""

    def list(self, resource: str, namespace: str | None = None) -> list[Obj]:
        """All objects of a resource."""
        ...

    def subscribe(self, *resources: str) -> AsyncIterator[StoreEvent]:
        """Follow changes; begins with what is there."""
        ...


@dataclass(frozen=True, slots=True)
class PodNet:
    """The network identity of one pod, fixed by its kubelet before the first container starts.

    ``netns`` is the name of the pod's network namespace; the dataplane creates it if it does not exist.
    ``ip`` is the first family's address, ``more_ips`` holds the second family's in a dual-stack lab.
    """

    namespace: str
    name: str
    uid: str
    ip: str
    netns: str
    host_network: bool = False
    more_ips: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def ips(self) -> tuple[str, ...]:
        """All addresses of the pod."""
        return (self.ip, *self.more_ips)


class Dataplane(Protocol):
    """The emulated CNI and kube-proxy of all nodes."""

    async def start(self) -> None:
        """Build the underlay and the outside host, and begin to follow the store."""
        ...

    async def add_node(self, node: str) -> None:
        """Build the node's network namespace (named like the node), its links, Services and policies."""
        ...

    async def pods_added(self, node: str, pods: Sequence[PodNet]) -> None:
        """Connect pods to the network; returns once links, addresses and policy are in place."""
        ...

    async def pods_removed(self, node: str, pods: Sequence[PodNet]) -> None:
        """Take pods off the network and delete their network namespaces."""
        ...

    async def settled(self) -> None:
        """Return once every change that the store has published so far is programmed on every node."""
        ...

    async def stop(self) -> None:
        """Stop following the store and end helper processes; the namespaces go with the lab."""
        ...
