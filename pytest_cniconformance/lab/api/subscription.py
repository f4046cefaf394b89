# SPDX-License-Identifier: Apache-2.0
"""Following the store: an async iterator over changes, one at a time or in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.objects import Obj


class Event(NamedTuple):
    """One change of one object."""

    type: str  # ADDED, MODIFIED, DELETED
    resource: str
    object: Obj  # the new state; on DELETED the last one
    old: Obj | None  # the state before; None on ADDED


class Subscription:
    """An endless async iterator of events. ``close()`` (or leaving its ``with`` block) ends it."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        self._pending: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._on_close = on_close
        self._closed = False

    def push(self, event: Event) -> None:
        """Queue an event (the store's side)."""
        self._pending.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the iteration and leave the store."""
        if not self._closed:
            self._closed = True
            self._on_close()
            self._wake.set()

    def take(self) -> list[Event]:
        """Return what is pending now, without waiting; the first call holds the present objects."""
        events = list(self._pending)
        self._pending.clear()
        return events

    async def batch(self) -> list[Event]:
        """Wait for at least one event and return all that are pending; empty once closed."""
        while not self._pending and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        return self.take()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._pending.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
