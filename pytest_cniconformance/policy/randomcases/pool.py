# SPDX-License-Identifier: Apache-2.0
"""Who can take part in random cases: six pods, what they serve, and what may stand before and beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_cniconformance.policy.builders import network_policy, peer, rule

POOL = ("x/a", "x/b", "y/a", "x/c", "y/b", "z/a")
"""The pods that a case may use, simplest first."""

TWINS = ("x/b", "x/c")
"""Pods that nothing but a case's labels tells apart: dataplanes that know identities may take them for one. A Service
before one of them would need a label of its own, so that they have none."""

LABEL_KEYS = ("app", "tier")
"""The labels of pods and namespaces that cases set; a pod has only those that its case gives it."""

TCP_PORTS, UDP_PORTS = (80, 81, 8080), (80, 53)

PORT_NAMES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    pod: {
        "web": ((80, 81, 80, 8080, 81, 80)[i], "TCP"),
        "dns": ((80, 80, 53, 53, 53, 80)[i], "UDP"),
    }
    for i, pod in enumerate(POOL)
}
"""Named container ports by pod: one name stands for different numbers on different pods."""

SIDECAR_PORTS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    pod: {"metrics": ((81, 8080, 80)[i % 3], "TCP")} for i, pod in enumerate(POOL)
}
"""The same of a restartable init container beside it, where Kubernetes has them (1.29)."""

SERVICE_PORT, BEHIND_SERVICE = 81, 8080
"""The TCP port of the Service before each pod, and the pod's port behind it: policies mean the latter (NP-SVC-1)."""

CROWD = 100
"""How many policies that select nobody a crowded case puts before its own, in each namespace."""


def service_before(pod: str) -> str:
    """Return how cells name the Service before a pod of the pool."""
    namespace, _, name = pod.partition("/")
    return f"{namespace}/svc:{name}"


def pod_behind(destination: str) -> str:
    """Return the pod that a cell's destination stands for, itself if it is no Service."""
    return destination.replace("/svc:", "/")


def ancestor(pod: str) -> str:
    """Return the name of the finished pod whose address a pod of the pool gets."""
    return f"{pod}-before"


def service(pod: str) -> dict[str, Any]:
    """Return the Service before a pod of the pool, no twin, which needs a label ``pod`` with its name."""
    namespace, _, name = pod.partition("/")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"pod": name},
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"port": SERVICE_PORT, "targetPort": BEHIND_SERVICE}],
        },
    }


def container_ports(names: Mapping[str, tuple[int, str]]) -> list[dict[str, Any]]:
    """Return the entries of ``containers[].ports`` for named ports."""
    return [
        {"name": name, "containerPort": number, "protocol": protocol}
        for name, (number, protocol) in names.items()
    ]


def crowd(namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the policies of a crowded namespace; no pod of a case has the label that they select."""
    for number in range(CROWD):
        rules = [rule([peer({LABEL_KEYS[0]: "nobody"})])]
        name = f"crowd-{number:03}"
        yield network_policy(name, namespace, {LABEL_KEYS[0]: "nobody"}, ingress=rules)


def namespaces_of(pods: tuple[str, ...]) -> tuple[str, ...]:
    """Return the namespaces of some pods, each once."""
    return tuple(dict.fromkeys(pod.partition("/")[0] for pod in pods))
