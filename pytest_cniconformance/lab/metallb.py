# SPDX-License-Identifier: Apache-2.0
"""MetalLB as a user would have configured it: two pools of the underlay, announced in layer 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj

NAMESPACE = "metallb-system"
_RANGES = {
    "default": {"ipv4": "172.30.100.1-172.30.100.50", "ipv6": "fd00:172:30::100:1-fd00:172:30::100:50"},
    "reserved": {"ipv4": "172.30.101.0/28", "ipv6": "fd00:172:30::101:0/124"},
}
_SPARE = {"ipv4": "172.30.102.1-172.30.102.8", "ipv6": "fd00:172:30::102:1-fd00:172:30::102:8"}


def spare_ranges(families: Sequence[str]) -> tuple[str, ...]:
    """Return addresses of the underlay that belong to no pool."""
    return tuple(_SPARE[family] for family in families)


def objects(families: Sequence[str]) -> list[Obj]:
    """Return the namespace, the pools and their advertisement.

    ``reserved`` is handed out only to Services that name it, as ``autoAssign: false`` says.
    """
    made: list[Obj] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for name, ranges in _RANGES.items():
        spec = {"addresses": [ranges[family] for family in families], "autoAssign": name == "default"}
        made.append(_object("IPAddressPool", name, spec))
    made.append(_object("L2Advertisement", "all", {"ipAddressPools": list(_RANGES)}))
    return made


def _object(kind: str, name: str, spec: Obj) -> Obj:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}
