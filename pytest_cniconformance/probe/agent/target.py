# SPDX-License-Identifier: Apache-2.0
"""What one cell asks for."""

from __future__ import annotations

from .addresses import family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Target:
    """What one cell asks for, with the name already resolved."""

    __slots__ = (
        "address",
        "expect",
        "family",
        "host",
        "http",
        "payload",
        "port",
        "protocol",
        "reset",
        "talk",
    )

    def __init__(self, host: str, port: int, protocol: str, options: dict[str, Any]) -> None:
        self.host, self.port, self.protocol = host, port, protocol
        self.address, self.family = host, family_of(host)
        self.payload: int = options.get("l", 0)
        self.talk: bool = options.get("t", True)
        self.reset: bool = options.get("r", False)
        self.http: dict[str, Any] | None = options.get("http")
        self.expect: str = options.get("x") or ""
