# SPDX-License-Identifier: Apache-2.0
"""Worlds for the tests of the dataplane; they need root, as real packets need real namespaces."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab_net.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _require_kernel() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    missing = [tool for tool in ("ip", "nft", "bridge", "unshare", "nsenter") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on the PATH")


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Build worlds that are gone after the test."""
    _require_kernel()
    worlds: list[World] = []

    def make(profile: str, *faults: str, families: tuple[str, ...] = ("ipv4",)) -> World:
        world = World(profile, tmp_path, faults, families)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture(scope="module", params=["flannel", "calico", "cilium"])
def any_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a sound world of each profile, with two pods on the first node and one on the second."""
    _require_kernel()
    world = World(request.param, tmp_path_factory.mktemp(request.param))
    try:
        world.namespace("x")
        world.pods_at_once(
            [("x/a", "lab-worker1", {}), ("x/b", "lab-worker1", {}), ("x/c", "lab-worker2", {})]
        )
        yield world
    finally:
        world.close()
