# SPDX-License-Identifier: Apache-2.0
"""The classes of start-up: one answer to a forbidden peer is a leak, late answers to an allowed one are not."""

from __future__ import annotations

import pytest

from pytest_cniconformance.measure.startup import FirstPath, NewPod, StartUp, classify
from tests.measure.test_convergence import runs


def pod(allowed: str, forbidden: str) -> NewPod:
    return NewPod(
        "p",
        (
            FirstPath("y/a", True, 0.0, tuple(runs(allowed))),
            FirstPath("z/a", False, 0.0, tuple(runs(forbidden))),
        ),
    )


GOOD = pod("o" * 60, "x" * 60)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (GOOD, StartUp.CONFORMANT),
        (pod("xxxx" + "o" * 60, "x" * 60), StartUp.CONFORMANT),
        (pod("x" * 20 + "o" * 60, "x" * 60), StartUp.FAIL_CLOSED),
        (pod("x" * 60, "x" * 60), StartUp.FAIL_CLOSED),
        (pod("o" * 60, "o" + "x" * 60), StartUp.FAIL_OPEN),
        (pod("x" * 60, "x" * 30 + "o" + "x" * 30), StartUp.FAIL_OPEN),
    ],
)
def test_classes(seen: NewPod, kind: StartUp) -> None:
    assert classify([GOOD, seen, GOOD]) is kind


def test_windows() -> None:
    assert pod("o" * 60, "oooo" + "x" * 60).leak().wrong == pytest.approx(30)
    assert pod("x" * 20 + "o" * 60, "x" * 60).lockout().last == pytest.approx(200)
    assert GOOD.leak().wrong == 0
    assert GOOD.settled(0.5)
    assert not pod("o" * 60, "x" * 30 + "o").settled(0.1)
    assert pod("x" * 60, "x").locked_out
