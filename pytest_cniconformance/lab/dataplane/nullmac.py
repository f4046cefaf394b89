# SPDX-License-Identifier: Apache-2.0
"""The fault ``null-mac-gateway``: a pod's way out ends in a neighbour entry that no packet can leave by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.commands import Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_cniconformance.lab.dataplane.addressing import Plan
    from pytest_cniconformance.lab.dataplane.commands import Commands
    from pytest_cniconformance.lab.dataplane.profiles import Profile
    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet

_EVERY = 3


class GatewayBreaker:
    """Breaks the first, fourth, seventh ... pod of each namespace once it is ready; kube-system is spared."""

    def __init__(self, commands: Commands, plan: Plan, profile: Profile, faults: Collection[str]) -> None:
        self._commands = commands
        self._plan = plan
        self._profile = profile
        self._active = "null-mac-gateway" in faults
        self._count: dict[str, int] = {}
        self._judged: set[str] = set()

    async def observe(self, pod: Obj, connected: Mapping[str, tuple[str, PodNet]]) -> None:
        """Look at a pod's new state."""
        uid = str(pod["metadata"].get("uid"))
        if not self._active or uid in self._judged or uid not in connected or not _ready(pod):
            return
        node, net = connected[uid]
        if net.host_network or net.namespace == "kube-system":
            return
        self._judged.add(uid)
        turn = self._count.get(net.namespace, 0)
        self._count[net.namespace] = turn + 1
        if turn % _EVERY:
            return
        batch = Batch(
            ip=[
                f"neigh replace {self._profile.gateway(self._plan.node(node), family)} "
                "lladdr 00:00:00:00:00:00 dev eth0 nud permanent"
                for family in self._plan.families
            ]
        )
        await self._commands.run(net.netns, batch, what="breaking a pod's gateway")

    def forget(self, uid: str) -> None:
        """Drop what is known of a pod."""
        self._judged.discard(uid)


def _ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
