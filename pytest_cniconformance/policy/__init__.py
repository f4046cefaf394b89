# SPDX-License-Identifier: Apache-2.0
"""Reference semantics of NetworkPolicy v1: pure functions from objects to a verdict and its explanation.

>>> state = ClusterState.from_objects(objects)            # doctest: +SKIP
>>> decide(state, "x/a", "y/b", 80, "TCP").decision       # doctest: +SKIP
"""

from __future__ import annotations

from pytest_cniconformance.policy import evaluate
from pytest_cniconformance.policy.evaluate import Ruling, decide
from pytest_cniconformance.policy.matrix import Reach, expected_matrix, reach
from pytest_cniconformance.policy.state import ClusterState
from pytest_cniconformance.policy.validate import InvalidPolicy, invalid

__all__ = [
    "ClusterState",
    "InvalidPolicy",
    "Reach",
    "Ruling",
    "decide",
    "evaluate",
    "expected_matrix",
    "invalid",
    "reach",
]
