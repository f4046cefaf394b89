# SPDX-License-Identifier: Apache-2.0
"""How every controller runs: woken by changes, never by a clock."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.store import Event, Store

_log = logging.getLogger(__name__)


class Controller(ABC):
    """Reacts to batches of changes of the resources it names. Runs in the API server's loop."""

    resources: tuple[str, ...] = ()

    def __init__(self, store: Store) -> None:
        self.store = store

    @abstractmethod
    def react(self, events: Sequence[Event]) -> None:
        """Bring the cluster nearer to what the changed objects ask for. Synchronous, hence atomic."""

    async def run(self) -> None:
        """React until cancelled; the first batch holds what is there already."""
        with self.store.subscribe(*self.resources) as subscription:
            while events := await subscription.batch():
                try:
                    self.react(events)
                except Exception:
                    # A controller outlives one bad object; the log names it.
                    _log.exception(
                        "%s failed on %s", type(self).__name__, [event.resource for event in events]
                    )
                await asyncio.sleep(0)  # let requests in between two batches
