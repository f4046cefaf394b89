# SPDX-License-Identifier: Apache-2.0
"""The window follows the slow round trips of the run, within limits."""

from __future__ import annotations

import pytest

from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.probe import Window


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [([200] * 100, 0.3), ([50_000] * 100, 0.6), ([900_000] * 10, 3.0), ([], 3.0), ([None, None], 3.0)],
)
def test_window(microseconds: list[int | None], seconds: float) -> None:
    assert Window.from_samples(microseconds, Timeouts()).seconds == pytest.approx(seconds)


def test_slowest_hundredth_decides_not_the_median() -> None:
    window = Window.from_samples([1000] * 95 + [100_000] * 5, Timeouts())
    assert window.rtt_p50_ms == 1.0
    assert window.rtt_p99_ms == 100.0
    assert window.seconds == pytest.approx(1.2)


def test_losses_are_counted() -> None:
    window = Window.from_samples([1000, None, 1000], Timeouts())
    assert (window.samples, window.losses) == (3, 1)


def test_limits_scale_with_the_timeouts() -> None:
    assert Window.from_samples([100], Timeouts().scaled(2)).seconds == pytest.approx(0.6)
    assert Window.default(Timeouts().scaled(2)).milliseconds == 6000
