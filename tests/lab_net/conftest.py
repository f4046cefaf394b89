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


def require_kernel() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    missing = [tool for tool in ("ip", "nft", "bridge", "unshare", "nsenter") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on the PATH")


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Build worlds that are gone after the test."""
    require_kernel()
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
    require_kernel()
    world = World(request.param, tmp_path_factory.mktemp(request.param))
    try:
        world.namespace("x")
        world.pods_at_once(
            [("x/a", "lab-worker1", {}), ("x/b", "lab-worker1", {}), ("x/c", "lab-worker2", {})]
        )
        yield world
    finally:
        world.close()


def policy_world(profile: str, directory: Path, *faults: str) -> World:
    """Build a world of three namespaces with two pods each, spread so that every pair of kinds exists.

    x/a and y/a share the first node, as do n/a and n/c; n/a and n/b have a port named web, 80 and 81.
    """
    require_kernel()
    world = World(profile, directory, faults)
    for name in ("x", "y", "z", "n"):
        world.namespace(name, ns=name)
    world.pods_at_once(
        [
            ("x/a", "lab-worker1", {}),
            ("y/a", "lab-worker1", {}),
            ("x/b", "lab-worker2", {}),
            ("y/b", "lab-worker2", {}),
            ("z/a", "lab-worker2", {}),
            ("z/b", "lab-worker1", {}),
        ]
    )
    world.pod("n/a", "lab-worker1", named={"web": 80})
    world.pod("n/b", "lab-worker2", named={"web": 81})
    world.pod("n/c", "lab-worker1")
    return world


def spread_world(profile: str, directory: Path, *faults: str) -> World:
    """Build a world with clients x/a and x/c on the first node and a backend x/b1..3 on each node."""
    require_kernel()
    world = World(profile, directory, faults)
    world.namespace("x")
    backends = [(f"x/b{i}", f"lab-worker{i}", {"app": "web"}) for i in (1, 2, 3)]
    world.pods_at_once([("x/a", "lab-worker1", {}), ("x/c", "lab-worker1", {}), *backends])
    return world


def l7_world(directory: Path, *faults: str) -> World:
    """Build a cilium world with a model server, clients near and far, and a stranger."""
    require_kernel()
    world = World("cilium", directory, faults)
    world.namespace("m")
    world.namespace("o")
    gateway = {"app": "gateway"}
    world.pods_at_once(
        [
            ("m/model", "lab-worker1", {"app": "model"}),
            ("m/near", "lab-worker1", gateway),
            ("m/far", "lab-worker2", gateway),
            ("m/other", "lab-worker3", {}),
            ("m/stranger", "lab-worker2", {}),
            ("o/foreign", "lab-worker2", gateway),
        ],
        serve=(("tcp", 80), ("http", 8080)),
    )
    return world
