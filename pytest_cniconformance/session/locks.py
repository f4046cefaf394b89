# SPDX-License-Identifier: Apache-2.0
"""The cluster shared among xdist workers: functional checks share it, measurements take it alone.

``flock`` on two files in the run directory; the kernel releases both when a worker dies. The turnstile
keeps a waiting measurement from starving: while it waits, no new functional check starts.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class ClusterLock:
    """A shared/exclusive lock over all workers of one run, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._turnstile = directory / "turnstile.lock"
        self._room = directory / "cluster.lock"
        self._alone: ExitStack | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the cluster together with other functional checks."""
        with self._turnstile.open("a") as turnstile, self._room.open("a") as room:
            fcntl.flock(turnstile, fcntl.LOCK_SH)
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
            yield

    @contextmanager
    def exclusive(self, *, keep: bool = False) -> Iterator[None]:
        """Hold the cluster alone.

        ``keep``: the next thing this process does is to ask for it again, and nothing shall come in between. Without
        it all others would wait twice for each of several measurements in a row: for its turn, and for its end.
        """
        if self._alone is None:
            with ExitStack() as stack:
                turnstile = stack.enter_context(self._turnstile.open("a"))
                room = stack.enter_context(self._room.open("a"))
                fcntl.flock(turnstile, fcntl.LOCK_EX)
                fcntl.flock(room, fcntl.LOCK_EX)
                self._alone = stack.pop_all()
        kept = False
        try:
            yield
            kept = keep
        finally:
            if not kept:
                self._alone.close()
                self._alone = None
