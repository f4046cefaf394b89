# SPDX-License-Identifier: Apache-2.0
"""What an update of a Service carries over from before, and what a change of its type drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj

_EXTERNAL = ("NodePort", "LoadBalancer")


def prepare_service_update(service: Obj, old: Obj) -> None:
    """Complete an updated Service from its old state, in place, before it is defaulted and validated.

    A field that the new type does not have is dropped where the client only left it as it was, so that changing
    the type alone is a valid update.
    """
    spec, before = service.setdefault("spec", {}), old["spec"]
    kind, was = spec.get("type", "ClusterIP"), before.get("type")
    if "ExternalName" not in (kind, was) and not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
        spec.setdefault("clusterIPs", before.get("clusterIPs"))
    if kind not in _EXTERNAL and was in _EXTERNAL:
        _drop_node_ports(spec, before)
        if not spec.get("externalIPs"):
            _drop_same(spec, before, "externalTrafficPolicy")
    if kind == "ExternalName" and was != "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            _drop_same(spec, before, field)
    if kind != "LoadBalancer":
        _drop_same(spec, before, "allocateLoadBalancerNodePorts")
        _drop_same(spec, before, "loadBalancerClass")
    if kind != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        _drop_same(spec, before, "healthCheckNodePort")


def _drop_same(spec: Obj, before: Obj, field: str) -> None:
    if field in spec and spec[field] == before.get(field):
        del spec[field]


def _drop_node_ports(spec: Obj, before: Obj) -> None:
    known = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in known:
            port.pop("nodePort", None)
