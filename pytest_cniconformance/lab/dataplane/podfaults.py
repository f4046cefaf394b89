# SPDX-License-Identifier: Apache-2.0
"""Faults inside a pod's network namespace, made once it is ready; the pods of kube-system are spared.

``null-mac-gateway``: the way out ends in a neighbour entry that no packet can leave by.
``api-unreachable``: there is no way to the Service of the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import IPV4, IPV6
from pytest_cniconformance.lab.dataplane.commands import Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_cniconformance.lab.dataplane.addressing import Plan
    from pytest_cniconformance.lab.dataplane.commands import Commands
    from pytest_cniconformance.lab.dataplane.profiles import Profile
    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet

_EVERY = 3
_API_SERVICE = {IPV4: "10.96.0.1", IPV6: "fd00:10:96::1"}


class PodBreaker:
    """Breaks pods of users. The gateway: in the first, fourth, seventh ... pod of each namespace."""

    def __init__(self, commands: Commands, plan: Plan, profile: Profile, faults: Collection[str]) -> None:
        self._commands = commands
        self._plan = plan
        self._profile = profile
        self._gateways = "null-mac-gateway" in faults
        self._api = "api-unreachable" in faults
        self._count: dict[str, int] = {}
        self._judged: set[str] = set()

    async def observe(self, pod: Obj, connected: Mapping[str, tuple[str, PodNet]]) -> None:
        """Look at a pod's new state."""
        uid = str(pod["metadata"].get("uid"))
        if (
            not (self._gateways or self._api)
            or uid in self._judged
            or uid not in connected
            or not _ready(pod)
        ):
            return
        node, net = connected[uid]
        if net.host_network or net.namespace == "kube-system":
            return
        self._judged.add(uid)
        commands: list[str] = []
        turn = self._count.get(net.namespace, 0)
        self._count[net.namespace] = turn + 1
        for family in self._plan.families:
            if self._gateways and turn % _EVERY == 0:
                gateway = self._profile.gateway(self._plan.node(node), family)
                commands.append(f"neigh replace {gateway} lladdr 00:00:00:00:00:00 dev eth0 nud permanent")
            if self._api:
                commands.append(f"route replace unreachable {_API_SERVICE[family]}")
        if commands:
            await self._commands.run(net.netns, Batch(ip=commands), what="breaking a pod")

    def forget(self, uid: str) -> None:
        """Drop what is known of a pod."""
        self._judged.discard(uid)


def _ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
