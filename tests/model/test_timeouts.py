# SPDX-License-Identifier: Apache-2.0
"""Scaling deadlines never shortens the window in which silence may read as a drop."""

from __future__ import annotations

from pytest_cniconformance.model.timeouts import Timeouts


def test_deadlines_scale_both_ways() -> None:
    assert Timeouts().scaled(0.5).policy_settle == Timeouts().policy_settle / 2
    assert Timeouts().scaled(3).pod_ready == Timeouts().pod_ready * 3


def test_what_ends_in_an_error_is_not_cut_short() -> None:
    assert Timeouts().scaled(0.1).exec_open == Timeouts().exec_open


def test_windows_only_grow() -> None:
    assert Timeouts().scaled(0.1).drop_window_min == Timeouts().drop_window_min
    assert Timeouts().scaled(2).drop_window_max == Timeouts().drop_window_max * 2
