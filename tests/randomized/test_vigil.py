# SPDX-License-Identifier: Apache-2.0
"""What counts as a leak on the way from one state to another, and in the first instants of a pod."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, Self

import pytest

from pytest_cniconformance.fixtures.randomized import vigil
from pytest_cniconformance.fixtures.randomized.vigil import FirstInstants, Vigil
from pytest_cniconformance.model.failure import ClusterError
from pytest_cniconformance.model.matrix import Cell, Decision
from pytest_cniconformance.policy import Ruling
from pytest_cniconformance.probe.watching import Attempts, Seen
from tests.policy.simulation import ADDRESSES

ALLOW, DENY = Decision.ALLOW, Decision.DENY
CELL = Cell("x/a", "y/a", 80)
PLACE = (ADDRESSES.pods["y/a"]["ipv4"], 80)


def ruling(egress: Decision, ingress: Decision) -> Ruling:
    return Ruling(ingress, egress, DENY if DENY in (egress, ingress) else ALLOW, ("because",))


OPEN, BY_SOURCE, BY_DESTINATION = ruling(ALLOW, ALLOW), ruling(DENY, ALLOW), ruling(ALLOW, DENY)


def runs(*states: str) -> tuple[Attempts, ...]:
    now = time.monotonic()
    return tuple(Attempts(state, now + i, now + i + 0.5, 9, "") for i, state in enumerate(states))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Attempts, ...]]:
    """What the watch of each test has seen."""
    state: dict[str, tuple[Attempts, ...]] = {"path": (), "control": runs("open")}

    class Watch:
        def __init__(self, *_: object, **__: object) -> None:
            self.added: list[tuple[str, int]] = []

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def add(self, address: str, port: int) -> None:
            self.added.append((address, port))

        def look(self) -> Seen:
            return Seen(dict.fromkeys(self.added, state["path"]), {}, state["control"], {}, 0.0, 0.0)

    monkeypatch.setattr(vigil, "PathWatch", Watch)
    return state


def cast() -> Any:
    pods = {key: SimpleNamespace(addresses=addresses) for key, addresses in ADDRESSES.pods.items()}
    return SimpleNamespace(pods=pods, fleet=SimpleNamespace(session=lambda _: None), left_out={})


@pytest.mark.parametrize(
    ("before", "after", "states", "leaks"),
    [
        (BY_SOURCE, BY_SOURCE, ("denied", "open", "denied"), True),
        (BY_SOURCE, ruling(DENY, DENY), ("denied", "open", "denied"), True),
        (BY_SOURCE, BY_SOURCE, ("denied",), False),
        # Each node follows in its own time: between the two, nobody forbids it.
        (BY_SOURCE, BY_DESTINATION, ("denied", "open", "denied"), False),
        (OPEN, BY_SOURCE, ("open", "denied"), False),
        (OPEN, BY_SOURCE, ("open", "denied", "open", "denied"), True),
        (BY_SOURCE, OPEN, ("denied", "open", "denied", "open"), False),
    ],
)
def test_what_is_a_leak(
    before: Ruling, after: Ruling, states: tuple[str, ...], leaks: bool, seen: dict[str, Any]
) -> None:
    with Vigil(cast(), {CELL: before}, 0.01) as watch:
        seen["path"] = runs(*states)
        found = watch.leaks({CELL: after})
    assert bool(found) is leaks
    assert all(mismatch.leak and mismatch.expected.because == ("because",) for mismatch in found)


def test_a_prober_that_failed_has_seen_no_denial(seen: dict[str, Any]) -> None:
    seen["control"] = runs("open", "denied", "open")
    blind = cast()
    with Vigil(blind, {CELL: OPEN}, 0.01) as watch:
        seen["path"] = runs("open", "denied", "open", "denied")
        assert not watch.leaks({CELL: BY_SOURCE})
    assert "x/a could not reach its own listener" in blind.left_out.values(), "nobody is told"
    with Vigil(cast(), {CELL: BY_SOURCE}, 0.01) as watch:
        assert watch.leaks({CELL: BY_SOURCE}), "an answer is an answer"


def test_a_pod_is_watched_as_soon_as_it_has_an_address(seen: dict[str, Any]) -> None:
    with FirstInstants(
        cast(), [CELL, Cell("x/a", "y/a", 80, family="ipv6"), CELL._replace(source="y/a")], 0.01
    ) as watch:
        watch.begin(["10.244.9.9"])
        seen["path"] = runs("denied")
        assert not watch.leaks({CELL: BY_DESTINATION})
        seen["path"] = runs("open", "denied")
        (leak,) = watch.leaks({CELL: BY_DESTINATION})
    assert leak.cell == CELL and "first instants" in leak.observed.cause


def test_a_path_that_nobody_tried_is_told(seen: dict[str, Any]) -> None:
    starved = cast()
    with Vigil(starved, {CELL: BY_SOURCE}, 0.01) as watch:
        assert not watch.leaks({CELL: BY_SOURCE})
    assert "x/a was short of processor" in starved.left_out.values()
    seen["path"] = (Attempts("error", 0.0, 0.0, 1, "no buffer space"),)
    with (
        Vigil(cast(), {CELL: BY_SOURCE}, 0.01) as watch,
        pytest.raises(ClusterError, match="no buffer space"),
    ):
        watch.leaks({CELL: BY_SOURCE})
