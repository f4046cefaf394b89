# SPDX-License-Identifier: Apache-2.0
"""All controllers of the lab, started and stopped as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pytest_cniconformance.lab.control.endpoints import EndpointsController
from pytest_cniconformance.lab.control.garbage import GarbageCollector
from pytest_cniconformance.lab.control.loadbalancer import LoadBalancerController
from pytest_cniconformance.lab.control.mirroring import EndpointsMirror
from pytest_cniconformance.lab.control.namespaces import NamespaceController, NamespaceRemoval
from pytest_cniconformance.lab.control.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.writes import Writes


class _Runs(Protocol):
    async def run(self) -> None: ...


class Controllers:
    """The controllers over one store. ``start`` needs a running loop; ``stop`` cancels them."""

    def __init__(self, writes: Writes, *, ca_pem: bytes, faults: frozenset[str] = frozenset()) -> None:
        store = writes.store
        self._controllers: Sequence[_Runs] = (
            NamespaceController(store, ca_pem.decode()),
            NamespaceRemoval(store),
            GarbageCollector(store),
            Scheduler(store),
            EndpointsController(store, faults),
            EndpointsMirror(store),
            LoadBalancerController(store, faults),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all controllers as tasks of the running loop."""
        self._tasks = [asyncio.create_task(one.run(), name=type(one).__name__) for one in self._controllers]

    async def stop(self) -> None:
        """Cancel the controllers and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
