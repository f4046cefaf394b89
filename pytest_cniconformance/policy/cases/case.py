# SPDX-License-Identifier: Apache-2.0
"""A case: what to do to the cluster step by step, and which cells to ask after each step. Values only.

A case never says what should come out: that is the oracle's to say. Namespaces are ``x``, ``y``, ``z`` with pods
``a``, ``b``, ``c`` each. What only a live cluster knows is written as a place: ``@ns:y`` is the real name of a
namespace, ``@ip:y/b`` the address of a pod, ``@block:y/b`` that address as a block of its own, ``@net:y/b`` the
block of 256 addresses that it lies in. :func:`located` fills them in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_cniconformance.model.requirement import Level, Requirement
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import Obj

API = "https://kubernetes.io/docs/reference/kubernetes-api/networking/network-policy-v1/"
DOCS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
_HOST_BITS = 8


@dataclass(frozen=True, slots=True)
class Ask:
    """The smallest topology that decides a step: every pair of a source and another destination, on every port.

    ``placement`` keeps the pairs that are ``same-node`` or ``cross-node``. SCTP is asked where the nodes have it.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[int, ...] = (80,)
    protocols: tuple[Protocol, ...] = (Protocol.TCP,)
    placement: str = "any"


@dataclass(frozen=True, slots=True)
class Apply:
    """Create a policy, or make one that is there into this."""

    policy: Obj


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a policy."""

    policy: Obj


@dataclass(frozen=True, slots=True)
class LabelPod:
    """Change labels of a pod; None removes one."""

    pod: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class LabelNamespace:
    """Change labels of a namespace; None removes one."""

    namespace: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class AddNamespace:
    """Create a namespace."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddPod:
    """Create a pod and wait until it runs."""

    pod: str


@dataclass(frozen=True, slots=True)
class RemovePod:
    """Delete a pod that an earlier step created."""

    pod: str


Action = Apply | Delete | LabelPod | LabelNamespace | AddNamespace | AddPod | RemovePod


@dataclass(frozen=True, slots=True)
class Step:
    """Actions, then the question; ``title`` says what holds then."""

    title: str
    actions: tuple[Action, ...]
    ask: Ask


@dataclass(frozen=True, slots=True)
class Case:
    """One requirement of the generated case space.

    ``axis`` is the part of the space that it belongs to. ``service`` dials destinations through their Services,
    which must make no difference (NP-SVC-1). ``needs`` are protocols without which it decides nothing.
    """

    id: str
    title: str
    axis: str
    feature: str
    steps: tuple[Step, ...]
    source: str = API
    service: bool = False
    needs: frozenset[Protocol] = frozenset()

    @property
    def requirement(self) -> Requirement:
        """The requirement that the case proves."""
        return Requirement(self.id, Level.MUST, self.feature, self.source, self.title)


def single(id: str, title: str, axis: str, feature: str, ask: Ask, *policies: Obj, **more: Any) -> Case:
    """Return a case of one step: these policies are in force."""
    return Case(id, title, axis, feature, (Step(title, tuple(map(Apply, policies)), ask),), **more)


def located(value: Any, namespace: Callable[[str], str], address: Callable[[str], str]) -> Any:
    """Return a manifest with the places in it filled in.

    Args:
        value: the manifest, or a part of it.
        namespace: the real name of a logical namespace.
        address: the primary address of a pod.
    """
    if isinstance(value, dict):
        return {key: located(item, namespace, address) for key, item in value.items()}
    if isinstance(value, list):
        return [located(item, namespace, address) for item in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    kind, _, name = value[1:].partition(":")
    if kind == "ns":
        return namespace(name)
    block = ipaddress.ip_network(address(name))
    if kind == "ip":
        return str(block.network_address)
    return str(block if kind == "block" else block.supernet(prefixlen_diff=_HOST_BITS))
