# SPDX-License-Identifier: Apache-2.0
"""The fault ``self-blocked``: an isolated pod loses the way to its own address, inside its own namespace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import family_of, nft_family
from pytest_cniconformance.lab.dataplane.nft import Table, transition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_cniconformance.lab.dataplane.commands import Commands
    from pytest_cniconformance.lab.dataplane.seams import PodNet


class SelfBlocker:
    """Does nothing unless the fault is in force."""

    def __init__(self, commands: Commands, faults: Collection[str]) -> None:
        self._commands = commands
        self._active = "self-blocked" in faults
        self._blocked: dict[str, Table] = {}

    async def update(self, pods: Mapping[str, PodNet], isolated: Collection[str]) -> None:
        """Block the pods (by network namespace) whose key is among ``isolated``, and no others."""
        if not self._active:
            return
        jobs = []
        for netns, pod in pods.items():
            wanted = _table(pod) if pod.key in isolated else Table("inet lab-fault")
            script = transition(self._blocked.get(netns), wanted)
            self._blocked[netns] = wanted
            if script:
                jobs.append(self._commands.nft(netns, script, what="blocking a pod's way to itself"))
        for netns in set(self._blocked) - set(pods):
            del self._blocked[netns]
        await asyncio.gather(*jobs)


def _table(pod: PodNet) -> Table:
    table = Table("inet lab-fault")
    rules = []
    for ip in pod.ips:
        family = nft_family(family_of(ip))
        rules.append(f"{family} saddr {ip} {family} daddr {ip} drop")
    table.chain("input", rules, "type filter hook input priority filter;")
    return table
