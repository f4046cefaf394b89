# SPDX-License-Identifier: Apache-2.0
"""When to try again, and how long to wait before: jittered backoff inside a budget, Retry-After honoured."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRYABLE = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses after which an idempotent request is sent again."""


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110 §10.2.3), None if it has none."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


class Backoff:
    """Pauses between attempts: about 0.1, 0.2, 0.4 … 5 s, each with jitter, never past ``budget`` seconds.

    ``stop`` ends a pause at once, so that a closing client holds nobody up.
    """

    def __init__(
        self, budget: float, stop: threading.Event, *, first: float = 0.1, ceiling: float = 5.0
    ) -> None:
        self.deadline = time.monotonic() + budget
        self.attempts = 0
        self._stop = stop
        self._next = first
        self._first = first
        self._ceiling = ceiling

    @property
    def remaining(self) -> float:
        """Seconds left of the budget, never negative."""
        return max(0.0, self.deadline - time.monotonic())

    def reset(self) -> None:
        """Start again with short pauses: something worked meanwhile. The budget stays."""
        self._next = self._first

    def pause(self, retry_after: float | None = None, *, at_most: float | None = None) -> bool:
        """Wait before the next attempt; False means: the budget is spent, or the client closes.

        A ``retry_after`` (seconds) that reaches past the budget is not waited for at all; ``at_most`` (seconds)
        cuts a pause short where a deadline of the caller's comes first.
        """
        delay = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._ceiling)
        if retry_after is not None:
            # The server's own word counts as a minimum; the jitter keeps many clients from coming back as one.
            delay = retry_after + min(delay, 0.1)
        if at_most is not None:
            delay = min(delay, max(at_most, 0.0))
        if delay >= self.remaining or self._stop.is_set():
            return False
        self.attempts += 1
        return not self._stop.wait(delay)
