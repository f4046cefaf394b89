# SPDX-License-Identifier: Apache-2.0
"""Fresh connections at a steady pace, to know when a path opened and when it closed.

An attempt is never waited for before the next one leaves, so that a path which swallows every SYN is sampled as
densely as an open one. Outcomes are noted in the order of sending, as runs of like outcome. An attempt counts for
the moment at which it was sent, an answered one for that at which its packet had left for certain: a prober short
of processor must not date an answer before the change that allowed it. Only the handshake is asked for: it is
answered by the kernel of the other end, so that a server short of processor is not taken for a policy. Connections
end by a reset and leave no state behind.
"""

from __future__ import annotations

import collections

from .attempt import attempt
from .judgement import Try
from .loop import Loop, now
from .target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPEN, DENIED, ERROR = "open", "denied", "error"
MOST_RUNS = 20000


class Pace:
    """Connects to one address every ``interval`` seconds; no answer within ``window`` seconds is a denial."""

    def __init__(
        self,
        loop: Loop,
        host: str,
        port: int,
        interval: float,
        window: float,
        *,
        calm_after: float = 0.0,
        calm_interval: float = 0.0,
    ) -> None:
        self.loop, self.interval, self.window = loop, interval, window
        self.calm = (now() + calm_after, calm_interval or interval)
        self.target = Target(host, port, "TCP", {"t": False, "r": True})
        if not self.target.family:
            raise ValueError(f"a paced path needs an IP address, not {host!r}")
        self.runs: list[list[Any]] = []
        """``[state, first sent, last sent, attempts, cause]``, oldest first; times on this agent's clock."""
        self.sent = self.lagged = 0
        self.worst = 0.0
        self._pending: collections.deque[tuple[float, Try, list[bool]]] = collections.deque()
        self.task = loop.spawn(self._run())

    def stop(self) -> None:
        """Send no more."""
        self.loop.cancel(self.task)

    def facts(self) -> dict[str, Any]:
        """Return what was seen so far; ``lag`` is in milliseconds."""
        return {
            "sent": self.sent,
            "lagged": self.lagged,
            "lag": round(self.worst * 1000, 2),
            "runs": [
                [state, round(first, 6), round(last, 6), *rest] for state, first, last, *rest in self.runs
            ],
        }

    async def _run(self) -> None:
        due = now()
        while True:
            outcome, flags = Try(), [False, False]  # ended; the loop lagged while it was sent
            sent = now()
            self._pending.append((sent, outcome, flags))
            self.sent += 1
            self.loop.spawn(self._attempt(sent, outcome, flags))
            # After a stall it goes on from the present: a burst would measure nothing.
            interval = self.interval if sent < self.calm[0] else self.calm[1]
            due = max(due + interval, sent)
            await self.loop.suspend(due)
            late = now() - due
            self.worst = max(self.worst, late)
            flags[1] = late > self.interval
            self._note()

    async def _attempt(self, sent: float, outcome: Try, flags: list[bool]) -> None:
        try:
            await attempt(self.loop, self.target, outcome, sent + self.window)
        finally:
            flags[0] = True

    def _note(self) -> None:
        while self._pending:
            sent, outcome, (ended, lagged) = self._pending[0]
            if not ended:
                return
            self._pending.popleft()
            state = OPEN if outcome.verdict == OPEN else ERROR if outcome.verdict == "probe-error" else DENIED
            if lagged and state != OPEN:
                # When it really left is not known, so its silence dates nothing. An answer is an answer.
                self.lagged += 1
                continue
            if state == OPEN:
                sent = outcome.left
            if self.runs and self.runs[-1][0] == state:
                self.runs[-1][2] = sent
                self.runs[-1][3] += 1
            elif len(self.runs) < MOST_RUNS:
                self.runs.append([state, sent, sent, 1, outcome.cause or outcome.verdict or "no answer"])
