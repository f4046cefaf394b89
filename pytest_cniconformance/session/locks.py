# SPDX-License-Identifier: Apache-2.0
"""The cluster shared among xdist workers: functional checks share it, measurements take it alone.

``flock`` on two files in the run directory; the kernel releases both when a worker dies. The turnstile
keeps a waiting measurement from starving: while it waits, no new functional check starts.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClusterLock:
    """A shared/exclusive lock over all workers of one run, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._turnstile = directory / "turnstile.lock"
        self._room = directory / "cluster.lock"

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the cluster together with other functional checks."""
        with self._turnstile.open("a") as turnstile, self._room.open("a") as room:
            fcntl.flock(turnstile, fcntl.LOCK_SH)
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the cluster alone."""
        with self._turnstile.open("a") as turnstile, self._room.open("a") as room:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX)
            yield
