# SPDX-License-Identifier: Apache-2.0
"""Functional checks share the cluster; a measurement has it alone and does not starve."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_cniconformance.session.locks import ClusterLock


def test_sharing_and_exclusion(tmp_path: Path) -> None:
    lock = ClusterLock(tmp_path)
    inside: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def measure() -> None:
        with lock.exclusive():
            inside.append("measurement")
            entered.set()
            leave.wait(10)
            inside.append("measured")

    with lock.shared(), lock.shared():
        thread = threading.Thread(target=measure)
        thread.start()
        assert not entered.wait(0.1), "a measurement started beside functional checks"
        late = threading.Thread(target=lambda: _check(lock, inside))
        late.start()
        late.join(0.1)
        assert late.is_alive(), "a functional check overtook a waiting measurement"
    assert entered.wait(10)
    leave.set()
    thread.join(10)
    late.join(10)
    assert inside == ["measurement", "measured", "check"]


def test_measurements_in_a_row_let_nobody_in_between(tmp_path: Path) -> None:
    ours, others = ClusterLock(tmp_path), ClusterLock(tmp_path)
    inside: list[str] = []
    with ours.exclusive(keep=True):
        late = threading.Thread(target=_check, args=(others, inside))
        late.start()
    late.join(0.1)
    with ours.exclusive():
        inside.append("second measurement")
    late.join(10)
    assert inside == ["second measurement", "check"]


def test_a_process_that_is_interrupted_keeps_nothing(tmp_path: Path) -> None:
    ours, others = ClusterLock(tmp_path), ClusterLock(tmp_path)
    with pytest.raises(KeyboardInterrupt), ours.exclusive(keep=True):
        raise KeyboardInterrupt
    with others.exclusive():
        pass


def _check(lock: ClusterLock, inside: list[str]) -> None:
    with lock.shared():
        inside.append("check")
