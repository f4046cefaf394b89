# SPDX-License-Identifier: Apache-2.0
"""The pods of a cluster as numbered bits, indexed by everything that a policy can ask about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_cniconformance.policy.addresses import FAMILIES, Address, AddressIndex
from pytest_cniconformance.policy.objects import NAME_LABEL, Pod
from pytest_cniconformance.policy.ports import Ports
from pytest_cniconformance.policy.selectors import LabelIndex, Labels


class Population:
    """All pods that are not finished. Bit ``i`` of every mask stands for ``pods[i]``."""

    def __init__(self, pods: Sequence[Pod], namespaces: Mapping[str, Labels]) -> None:
        self.pods = tuple(pods)
        self.number = {pod.key: i for i, pod in enumerate(pods)}
        self.everyone = (1 << len(pods)) - 1
        self.pod_labels = LabelIndex(pod.labels for pod in pods)
        self.namespace_labels = LabelIndex(namespaces[pod.namespace] for pod in pods)
        self.host_network = _mask(i for i, pod in enumerate(pods) if pod.host_network)
        self.unaddressed = _mask(i for i, pod in enumerate(pods) if not pod.addresses)
        self.addresses = {
            family: AddressIndex(
                (i, pod.addresses[family]) for i, pod in enumerate(pods) if family in pod.addresses
            )
            for family in FAMILIES
        }
        self.by_address: dict[Address, int] = {
            address: i
            for i, pod in enumerate(pods)
            if not pod.host_network
            for address in pod.addresses.values()
        }
        self._namespaces: dict[str, int] = {}
        self._named: dict[tuple[str, str, int], int] = {}
        for i, pod in enumerate(pods):
            self._namespaces[pod.namespace] = self._namespaces.get(pod.namespace, 0) | 1 << i
            for (name, protocol), numbers in pod.named.items():
                for number in numbers:
                    key = (name, protocol, number)
                    self._named[key] = self._named.get(key, 0) | 1 << i

    def in_namespace(self, namespace: str) -> int:
        """Return the mask of a namespace's pods."""
        return self._namespaces.get(namespace, 0)

    def serving(self, ports: Ports, port: int, protocol: str) -> int:
        """Return the mask of the pods for which ``ports`` covers the port, names resolved pod by pod."""
        if ports.in_ranges(port, protocol):
            return self.everyone
        mask = 0
        for entry in ports.names:
            if entry.protocol == protocol:
                mask |= self._named.get((entry.name, protocol, port), 0)
        return mask


def namespace_labels(name: str, labels: Labels) -> dict[str, str]:
    """Return a namespace's labels with the one that the API server always sets (NP-SEL-6)."""
    return {**labels, NAME_LABEL: name}


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask
