# SPDX-License-Identifier: Apache-2.0
"""One cell of a batch: staggered attempts until one is answered or the window has passed."""

from __future__ import annotations

import time

from .attempt import attempt
from .judgement import Try
from .loop import Loop, Task, now
from .target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Cell:
    """One cell of a batch: staggered attempts until one is answered or the window has passed."""

    def __init__(self, host: str, port: int, protocol: str, options: dict[str, Any]) -> None:
        self.target = Target(host, port, protocol, options)
        self.wanted_family = options.get("f", 0)
        self.tries: list[Try] = []
        self.attempts = 0
        self.result: list[Any] | None = None
        self.silent = False
        self.at = 0.0

    def settle(
        self,
        verdict: str,
        cause: str,
        outcome: Try | None,
        window: float,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Set the row that is reported: verdict, cause, microseconds, and so on as the host side names them."""
        row = [
            verdict,
            cause,
            None if outcome is None or outcome.latency is None else round(outcome.latency * 1e6),
            self.attempts,
            outcome.responder if outcome else "",
            outcome.peer if outcome else "",
            outcome.status if outcome else None,
            self.target.address if self.target.family else "",
            round(window * 1000),
            round(self.at or time.time(), 6),
            extra,
        ]
        while row[-1] in (None, ""):
            row.pop()
        self.result = row

    async def run(self, loop: Loop, window: float) -> None:
        """Make up to three attempts, a third of the window apart, all left open until its end."""
        began = now()
        self.at = time.time()
        self.silent = False
        self.tries = []
        running: list[Task] = []
        end = began + window
        # A standing connection proves the path, so its answer may come late: the far side may be short of processor.
        last = began + 4 * window
        try:
            for number in (1, 2, 3):
                outcome = Try()
                self.tries.append(outcome)
                self.attempts += 1
                task = loop.spawn(attempt(loop, self.target, outcome, last))
                running.append(task)
                pause = began + window * number / 3
                while now() < pause and not task.done:
                    await loop.wait_any(running, pause)
                    if self._decided(window):
                        return
                if self._decided(window):
                    return
            while now() < end or (now() < last and any(t.connected and not t.verdict for t in self.tries)):
                await loop.wait_any(running, end if now() < end else last)
                if self._decided(window):
                    return
            self._close(window)
        finally:
            for task in running:
                loop.cancel(task)

    def _decided(self, window: float) -> bool:
        failed = []
        for outcome in self.tries:
            if outcome.verdict in ("open", "http-denied"):
                # Told only where something on the way has changed it: by a Service, or a host port.
                translated = outcome.port not in (0, self.target.port)
                extra = {"port": outcome.port} if translated else None
                self.settle(outcome.verdict, outcome.cause, outcome, window, extra)
                return True
            if outcome.verdict:
                failed.append(outcome)
        # One RST may be an accident; an ICMP error quotes our packet, and kernels ration them.
        if failed and (len(failed) > 1 or failed[0].firm):
            self.settle(failed[-1].verdict, failed[-1].cause, failed[-1], window)
            return True
        return False

    def _close(self, window: float) -> None:
        failed = [outcome for outcome in self.tries if outcome.verdict]
        if failed:
            self.settle(
                failed[0].verdict,
                f"{failed[0].cause}, once in {len(self.tries)} attempts",
                failed[0],
                window,
            )
            return
        self.silent = True
        stood = any(outcome.connected for outcome in self.tries)
        cause = "connected, then silence" if stood else "no answer"
        self.settle("dropped", cause, None, window, {"connected": True} if stood else None)
