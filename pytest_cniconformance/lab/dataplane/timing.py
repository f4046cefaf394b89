# SPDX-License-Identifier: Apache-2.0
"""Policy agents that are right, but not at once: what they have noticed so far, where a fault makes them late.

``slow-convergence``: nothing is noticed before some seconds have passed. ``flap-on-update``: a changed policy is
programmed at once, then for a moment as it was before, then again as it is. ``startup-leak`` and
``startup-lockout``: a pod is young for a while after its network was built.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_cniconformance.lab.dataplane.policy import Policy
    from pytest_cniconformance.lab.dataplane.view import View

_SLOW = 7.0  # seconds
_FLAP_FROM, _FLAP_UNTIL = 0.06, 0.18
_YOUNG = {"startup-leak": 2.0, "startup-lockout": 9.0}


class Timing:
    """Holds back what a fault delays; ``wake_later(seconds)`` asks for another look by then."""

    def __init__(self, faults: Collection[str], wake_later: Callable[[float], None]) -> None:
        self._faults = frozenset(faults)
        self._wake_later = wake_later
        self._history: deque[tuple[float, View, tuple[Policy, ...]]] = deque()
        self._known: dict[str, Policy] = {}
        self._changed: dict[str, tuple[float, Policy]] = {}
        self._youth = max((_YOUNG.get(name, 0.0) for name in self._faults), default=0.0)
        self._born: dict[str, float] = {}

    def noticed(self, view: View, policies: tuple[Policy, ...]) -> tuple[View, tuple[Policy, ...]]:
        """Return what the agents act on at this moment."""
        if "flap-on-update" in self._faults:
            policies = self._flapping(policies)
        if "slow-convergence" in self._faults:
            return self._late(view, policies)
        return view, policies

    def young(self, connected: Mapping[str, object], *, policies: bool) -> frozenset[str]:
        """Return the uids of the pods that the agents have not caught up with.

        Only pods that come while there are ``policies`` begin young: of the others nothing is to be learnt.
        """
        if not self._youth:
            return frozenset()
        now = time.monotonic()
        for uid in connected.keys() - self._born.keys():
            self._born[uid] = now if policies else now - self._youth
            self._wake_later(self._youth)
        self._born = {uid: born for uid, born in self._born.items() if uid in connected}
        return frozenset(uid for uid, born in self._born.items() if now - born < self._youth)

    def _late(self, view: View, policies: tuple[Policy, ...]) -> tuple[View, tuple[Policy, ...]]:
        now = time.monotonic()
        if not self._history or not _same(self._history[-1][1:], (view, policies)):
            self._history.append((now, view, policies))
            self._wake_later(_SLOW)
        while len(self._history) > 1 and self._history[1][0] <= now - _SLOW:
            self._history.popleft()
        return self._history[0][1:]

    def _flapping(self, policies: Sequence[Policy]) -> tuple[Policy, ...]:
        now = time.monotonic()
        shown = []
        for policy in policies:
            before = self._known.get(policy.key)
            if before is not None and before != policy:
                self._changed[policy.key] = (now, before)
                self._wake_later(_FLAP_FROM)
                self._wake_later(_FLAP_UNTIL)
            changed, stale = self._changed.get(policy.key, (0.0, policy))
            shown.append(stale if _FLAP_FROM <= now - changed < _FLAP_UNTIL else policy)
        self._known = {policy.key: policy for policy in policies}
        return tuple(shown)


def _same(one: tuple[View, tuple[Policy, ...]], other: tuple[View, tuple[Policy, ...]]) -> bool:
    return (one[0].pods, one[0].namespace_labels, one[1]) == (
        other[0].pods,
        other[0].namespace_labels,
        other[1],
    )
