# SPDX-License-Identifier: Apache-2.0
"""The cluster as the policy agent sees it: pods with their labels and addresses, namespaces."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet

_FINISHED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Pod:
    """A pod that takes part in policy: connected, not hostNetwork, not finished."""

    namespace: str
    name: str
    node: str
    ips: tuple[str, ...]
    labels: Mapping[str, str]
    identity: Mapping[str, str]
    ports: tuple[tuple[str, str, int], ...]
    """Named container ports: (name, protocol in lower case, number)."""
    young: bool = False
    """An agent with a start-up fault has not caught up with it."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def named(self, name: str, protocol: str) -> int | None:
        """Resolve a named port of this pod."""
        for port_name, port_protocol, number in self.ports:
            if (port_name, port_protocol) == (name, protocol):
                return number
        return None


class Choice(Protocol):
    """A choice of pods; equal keys choose the same pods."""

    @property
    def key(self) -> str:
        """The same text for the same choice."""
        ...

    def members(self, view: View) -> tuple[Pod, ...]:
        """All pods chosen, in the order of the view."""
        ...


@dataclass
class View:
    """A snapshot, with a cache of which pods each selector chooses."""

    pods: tuple[Pod, ...]
    namespace_labels: Mapping[str, Mapping[str, str]]
    _members: dict[str, tuple[Pod, ...]] = field(default_factory=dict)

    def members(self, choice: Choice) -> tuple[Pod, ...]:
        """Pods that a peer or a subject chooses."""
        found = self._members.get(choice.key)
        if found is None:
            found = self._members[choice.key] = choice.members(self)
        return found


def snapshot(
    listed: Callable[[str], list[Obj]],
    connected: Mapping[str, tuple[str, PodNet]],
    young: Container[str] = (),
) -> View:
    """Combine the kubelets' knowledge of addresses with the API's knowledge of labels.

    ``listed`` gives all objects of a resource; ``connected`` maps a pod's uid to its node and network identity.
    A pod is a peer from the moment its kubelet connects it, before its address is in its status. ``young`` are
    uids.
    """
    namespaces = {
        item["metadata"]["name"]: dict(item["metadata"].get("labels") or {}) for item in listed("namespaces")
    }
    pods = []
    for item in listed("pods"):
        uid = item["metadata"].get("uid", "")
        known = connected.get(uid)
        if known is None or known[1].host_network:
            continue
        if (item.get("status") or {}).get("phase") in _FINISHED:
            continue
        node, net = known
        pods.append(_pod(item, node, net, namespaces.get(net.namespace, {}), young=uid in young))
    pods.sort(key=lambda pod: pod.key)
    return View(tuple(pods), namespaces)


def _pod(item: Obj, node: str, net: PodNet, namespace_labels: Mapping[str, str], *, young: bool) -> Pod:
    spec = item.get("spec") or {}
    labels = dict(item["metadata"].get("labels") or {})
    identity = {
        **labels,
        "io.kubernetes.pod.namespace": net.namespace,
        "io.cilium.k8s.policy.cluster": "default",
        "io.cilium.k8s.policy.serviceaccount": spec.get("serviceAccountName") or "default",
        **{f"io.cilium.k8s.namespace.labels.{key}": value for key, value in namespace_labels.items()},
    }
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    ports = tuple(
        (port["name"], (port.get("protocol") or "TCP").lower(), int(port["containerPort"]))
        for container in (*(spec.get("containers") or []), *sidecars)
        for port in container.get("ports") or []
        if port.get("name")
    )
    return Pod(net.namespace, net.name, node, net.ips, labels, identity, ports, young)
