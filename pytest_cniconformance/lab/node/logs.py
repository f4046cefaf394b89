# SPDX-License-Identifier: Apache-2.0
"""The output of one run of a container: bounded, and readable while it grows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import now_micro

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 1 << 20  # bytes kept per run; the oldest lines go first
_OVERHEAD = 100  # bytes that a line costs beside its text, so that many short lines cannot fill the memory


class ContainerLog:
    """Lines of stdout and stderr in the order of their arrival."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, bytes]] = deque()
        self._first = 0  # how many lines have been dropped
        self._size = 0
        self._partial: dict[str, bytes] = {}
        self._grown = asyncio.Event()
        self.closed = False

    async def write(self, stream: str, data: bytes) -> None:
        """Append output of ``stream``; incomplete lines wait for their end."""
        lines = (self._partial.pop(stream, b"") + data).splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n") and len(lines[-1]) < LIMIT // 16:
            self._partial[stream] = lines.pop()
        self._append(lines)

    def close(self) -> None:
        """Note that the container has ended: nothing more will come."""
        for stream in list(self._partial):
            self._flush(stream)
        self.closed = True
        self._grown.set()

    async def read(
        self, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield output in chunks, from the last ``tail`` lines (None: all) on."""
        position = self._first
        if tail is not None:
            position = self._first + max(0, len(self._lines) - tail)
        while True:
            position = max(position, self._first)
            fresh = [self._lines[i - self._first] for i in range(position, self._first + len(self._lines))]
            position += len(fresh)
            if fresh:
                yield b"".join(time.encode() + b" " + line if timestamps else line for time, line in fresh)
            elif self.closed or not follow:
                return
            else:
                self._grown.clear()
                await self._grown.wait()

    def _flush(self, stream: str) -> None:
        if rest := self._partial.pop(stream, b""):
            self._append([rest])

    def _append(self, lines: list[bytes]) -> None:
        time = now_micro()
        self._lines.extend((time, line) for line in lines)
        self._size += sum(map(len, lines)) + _OVERHEAD * len(lines)
        while self._size > LIMIT:
            self._size -= len(self._lines.popleft()[1]) + _OVERHEAD
            self._first += 1
        self._grown.set()

    def last(self, lines: int, size: int) -> str:
        """Return the end of the log, for a termination message."""
        kept = b"".join(line for _, line in list(self._lines)[-lines:])
        return kept[-size:].decode(errors="replace")
