# SPDX-License-Identifier: Apache-2.0
"""A small cluster for the tests: namespaces x, y, z with pods a, b, c on two nodes, and makers of more."""

from __future__ import annotations

from typing import Any

from pytest_cniconformance.policy import ClusterState
from pytest_cniconformance.policy.builders import Obj

NAMESPACES, PODS = "xyz", "abc"


def namespace(name: str, **labels: str) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def node(name: str, *addresses: str) -> Obj:
    entries = [{"type": "InternalIP", "address": address} for address in addresses]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": entries}}


def pod(
    key: str,
    *ips: str,
    labels: dict[str, str] | None = None,
    on: str = "n1",
    host: bool = False,
    phase: str = "Running",
    ports: list[dict[str, Any]] | None = None,
    init: list[dict[str, Any]] | None = None,
) -> Obj:
    where, name = key.split("/")
    spec: Obj = {"nodeName": on, "containers": [{"name": "main", "ports": ports or []}]}
    if host:
        spec["hostNetwork"] = True
    if init is not None:
        spec["initContainers"] = init
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": where, "labels": {"pod": name} if labels is None else labels},
        "spec": spec,
        "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]},
    }


def grid() -> list[Obj]:
    """The nine pods: a and b of each namespace on n1, c on n2, dual stack; and the two nodes."""
    objs = [namespace(name, ns=name) for name in NAMESPACES]
    objs += [node("n1", "172.30.1.1", "fd30::1:1"), node("n2", "172.30.1.2", "fd30::1:2")]
    for i, where in enumerate(NAMESPACES):
        for j, name in enumerate(PODS):
            objs.append(
                pod(
                    f"{where}/{name}",
                    f"10.244.{i}.{j + 1}",
                    f"fd44::{i}:{j + 1}",
                    on="n2" if name == "c" else "n1",
                    ports=[
                        {"containerPort": 80, "name": "web"},
                        {"containerPort": 80, "name": "dns", "protocol": "UDP"},
                    ],
                )
            )
    return objs


def cluster(*objs: Obj) -> ClusterState:
    return ClusterState.from_objects([*grid(), *objs])
