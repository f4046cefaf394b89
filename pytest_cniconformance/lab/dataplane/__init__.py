# SPDX-License-Identifier: Apache-2.0
"""The lab's network: real packets through the kernel, following the published design of a CNI.

``create_dataplane`` is the only entry; the kubelets talk to what it returns (``seams.Dataplane``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses, Plan
from pytest_cniconformance.lab.dataplane.seams import Dataplane, DataplaneError, PodNet, Store, Zygote

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

__all__ = [
    "PROFILES",
    "Dataplane",
    "DataplaneError",
    "NodeAddresses",
    "Plan",
    "PodNet",
    "create_dataplane",
]

PROFILES = ("flannel", "calico", "cilium")


def create_dataplane(
    profile: str,
    store: Store,
    zygote: Zygote,
    *,
    families: Sequence[str] = ("ipv4",),
    faults: Collection[str] = (),
    nodes: Sequence[str],
    directory: Path | None = None,
) -> Dataplane:
    """Build the dataplane of one lab; nothing is done before ``start``.

    ``nodes`` are all node names in order (node *i* gets 172.30.1.i and 10.244.i.0/24); ``directory`` is where
    helper processes keep their files (default: a directory under /run). Raises ValueError for an unknown
    profile, family or fault.
    """
    from pytest_cniconformance.lab.dataplane.engine import Engine

    if profile not in PROFILES:
        raise ValueError(f"unknown dataplane profile {profile!r}; there are: {', '.join(PROFILES)}")
    return Engine(
        profile,
        store,
        zygote,
        families=tuple(families),
        faults=faults,
        nodes=tuple(nodes),
        directory=directory,
    )
