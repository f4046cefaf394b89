# SPDX-License-Identifier: Apache-2.0
"""The pods behind a Service: policies judge traffic to it by its backends (NP-SVC-1, NP-PRT-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.policy.objects import Pod, Service
from pytest_cniconformance.policy.selectors import bits

if TYPE_CHECKING:
    from pytest_cniconformance.policy.state import ClusterState


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod behind a Service and the container port that answers."""

    pod: Pod
    port: int


def backends(state: ClusterState, service: Service, port: int, protocol: str) -> list[Backend]:
    """Return the pods that a Service port leads to; empty for ports that it lacks and for no selector."""
    target = next((t for number, kind, t in service.ports if (number, kind) == (port, protocol)), None)
    if target is None or not service.selector:
        return []
    population = state.population
    selected = population.pod_labels.select({"matchLabels": dict(service.selector)})
    found = []
    for number in bits(selected & population.in_namespace(service.namespace)):
        pod = population.pods[number]
        numbers = [target] if isinstance(target, int) else sorted(pod.named.get((target, protocol), ()))[:1]
        found += [Backend(pod, number) for number in numbers]
    return found


def no_backend(service: str, port: int, protocol: str) -> str:
    """Explain why a Service port decides nothing."""
    return f"Service {service} has no pod behind {port}/{protocol}: there is no connection to judge"
