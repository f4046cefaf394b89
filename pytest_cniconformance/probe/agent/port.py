# SPDX-License-Identifier: Apache-2.0
"""A port of a server, with what it has seen."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import collections
    from typing import Any

    from .loop import Loop


class Port:
    """One port: who serves it, and its counters. ``recent`` is the server's memory of requests, on all its ports."""

    __slots__ = ("counter", "identity", "loop", "number", "protocol", "recent")

    def __init__(
        self, loop: Loop, identity: str, recent: collections.deque[list[Any]], protocol: str, number: int
    ) -> None:
        self.loop, self.identity, self.recent = loop, identity, recent
        self.protocol, self.number = protocol, number
        self.counter = {"connections": 0, "requests": 0, "bytes": 0}

    def saw(self, peer: str, nonce: Any, protocol: str = "") -> None:
        """Count a request."""
        self.counter["requests"] += 1
        self.recent.append([round(time.time(), 6), protocol or self.protocol, self.number, peer, nonce])
