# SPDX-License-Identifier: Apache-2.0
"""The generated case space of NetworkPolicy v1: one requirement per case, by axis.

>>> CASES[0].id
'NP-C-target-all-ingress'
"""

from __future__ import annotations

from pytest_cniconformance.policy.cases import actions, conflicts, peers, ports, targets, upstream
from pytest_cniconformance.policy.cases.case import Ask, Case, Step, located
from pytest_cniconformance.policy.cases.upstream import INTENTS

CASES: tuple[Case, ...] = tuple(
    case for axis in (targets, peers, ports, conflicts, actions, upstream) for case in axis.cases()
)

__all__ = ["CASES", "INTENTS", "Ask", "Case", "Step", "located"]
