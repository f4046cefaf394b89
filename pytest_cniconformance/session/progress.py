# SPDX-License-Identifier: Apache-2.0
"""Live progress: checks done and left, the current suite, the time elapsed; one line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_EVERY_SECONDS = 5.0


class Progress:
    """Writes a line when the suite changes and every five seconds of a long suite.

    Plain lines through pytest's own reporter: they work in a terminal, in a CI log and under xdist alike.
    """

    def __init__(self, reporter: TerminalReporter | None, total: int) -> None:
        self._reporter = reporter
        self._total = total
        self._done = 0
        self._suite = ""
        self._started = self._written = time.monotonic()

    def total(self, count: int) -> None:
        """Set the number of checks, once it is known."""
        self._total = count

    def finished(self, suite: str) -> None:
        """Count one finished check of ``suite``."""
        self._done += 1
        now = time.monotonic()
        if suite == self._suite and now - self._written < _EVERY_SECONDS:
            return
        self._suite, self._written = suite, now
        reporter = self._reporter
        if reporter is None or reporter.verbosity < 0:
            return
        left = max(self._total - self._done, 0)
        minutes, seconds = divmod(int(now - self._started), 60)
        reporter.ensure_newline()
        reporter.write_line(
            f"[cni] {self._done} done, {left} left · {suite} · {minutes}:{seconds:02d}", cyan=True
        )
