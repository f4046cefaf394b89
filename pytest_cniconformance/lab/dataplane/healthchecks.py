# SPDX-License-Identifier: Apache-2.0
"""``healthCheckNodePort`` of one node: a small HTTP server that knows how many endpoints are local."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.helpers import run_helper

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_cniconformance.lab.dataplane.seams import Zygote


class HealthChecks:
    """Keeps the server's knowledge right. The server is started with the first port, and then stays."""

    def __init__(self, zygote: Zygote, node: str, faults: Collection[str]) -> None:
        self._zygote = zygote
        self._node = node
        self._said: int | None = None
        if "health-check-always-ok" in faults:
            self._said = 1
        elif "health-check-never-ok" in faults:
            self._said = 0
        self._told: dict[int, int] = {}

    async def update(self, counts: Mapping[int, int]) -> None:
        """Serve these ports, each with its number of local ready endpoints."""
        wanted = {port: count if self._said is None else self._said for port, count in counts.items()}
        if wanted != self._told:
            await run_helper(self._zygote, self._node, "healthcheck", {"ports": list(wanted.items())})
            self._told = wanted
