# SPDX-License-Identifier: Apache-2.0
"""What the semantics need to know of pods, nodes and Services, read from their Kubernetes objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy.addresses import Address, family_of, parse_address
from pytest_cniconformance.policy.ports import NamedPorts, container_ports, named_ports

Obj = Mapping[str, Any]

GROUPS = {"Namespace": "", "Pod": "", "Node": "", "Service": "", "NetworkPolicy": "networking.k8s.io"}
"""The API group of each kind that counts. An object without apiVersion is taken for one of these."""

NAME_LABEL = "kubernetes.io/metadata.name"
"""The API server sets this label on every namespace, to the namespace's name."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is not finished. ``addresses`` is by family and empty before the pod has any.

    ``ports`` are the (number, protocol) that its containers and sidecars declare, ``named`` those with a name.
    """

    namespace: str
    name: str
    labels: Mapping[str, str]
    addresses: Mapping[str, Address] = field(default_factory=dict)
    node: str = ""
    host_network: bool = False
    named: NamedPorts = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, obj: Obj) -> Pod:
        """Read a ``v1.Pod``."""
        metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        texts = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
        if not texts and status.get("podIP"):
            texts = [status["podIP"]]
        return cls(
            str(metadata.get("namespace") or "default"),
            str(metadata["name"]),
            labels_of(obj),
            by_family(texts),
            str(spec.get("nodeName") or ""),
            bool(spec.get("hostNetwork")),
            named_ports(spec),
            tuple(dict.fromkeys((number, protocol) for number, protocol, _ in container_ports(spec))),
        )


def labels_of(obj: Obj) -> dict[str, str]:
    """Return the labels of an object; a null value is the empty string, as the API decodes it."""
    return {key: value or "" for key, value in (obj["metadata"].get("labels") or {}).items()}


def finished(obj: Obj) -> bool:
    """Whether a pod has completed or failed: its address may belong to another pod by now."""
    return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Node:
    """A node and all the addresses that its status lists."""

    name: str
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(cls, obj: Obj) -> Node:
        """Read a ``v1.Node``."""
        entries = (obj.get("status") or {}).get("addresses") or ()
        texts = [entry["address"] for entry in entries if entry.get("type") in ("InternalIP", "ExternalIP")]
        return cls(str(obj["metadata"]["name"]), tuple(parse_address(text) for text in texts))


@dataclass(frozen=True, slots=True)
class Service:
    """A Service, for traffic that is sent to its addresses."""

    namespace: str
    name: str
    addresses: frozenset[Address]
    selector: Mapping[str, str] | None
    ports: tuple[tuple[int, str, int | str], ...]
    """(port, protocol, targetPort)."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, obj: Obj) -> Service:
        """Read a ``v1.Service``; headless ones have no address of their own."""
        metadata, spec = obj["metadata"], obj.get("spec") or {}
        texts = [
            *(spec.get("clusterIPs") or ()),
            spec.get("clusterIP") or "",
            *(spec.get("externalIPs") or ()),
        ]
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        texts += [entry.get("ip", "") for entry in ingress]
        return cls(
            str(metadata.get("namespace") or "default"),
            str(metadata["name"]),
            frozenset(parse_address(text) for text in texts if text not in ("", "None")),
            spec.get("selector") or None,
            tuple(
                (
                    int(port["port"]),
                    str(port.get("protocol") or "TCP"),
                    port.get("targetPort") or port["port"],
                )
                for port in spec.get("ports") or ()
            ),
        )


def by_family(texts: Iterable[str]) -> dict[str, Address]:
    """Return the first address of each family.

    Raises:
        UsageError: a text is no address.
    """
    found: dict[str, Address] = {}
    for text in texts:
        address = parse_address(text)
        found.setdefault(family_of(address), address)
    return found


def unlisted(value: Any) -> Iterator[Obj]:
    """Yield the objects of a value one by one: an object, a list object (``List``, ``PodList``, …) or a sequence.

    Raises:
        UsageError: something is no Kubernetes object.
    """
    if isinstance(value, list | tuple):
        for item in value:
            yield from unlisted(item)
        return
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise UsageError(f"no Kubernetes object (a mapping with kind): {str(value)[:60]}")
    kind = value["kind"]
    if not kind.endswith("List") or not isinstance(value.get("items"), list | None):
        yield value
        return
    # The items of a typed list need not repeat their kind.
    inherited = {"kind": kind.removesuffix("List"), "apiVersion": value.get("apiVersion", "")}
    for item in value.get("items") or ():
        typed = kind != "List" and isinstance(item, Mapping)
        yield from unlisted({**inherited, **item} if typed else item)


def flatten(objs: Iterable[Any]) -> Iterator[Obj]:
    """Yield the objects that the semantics know one by one, those inside of lists included.

    Raises:
        UsageError: something is no Kubernetes object, or has no name.
    """
    for obj in objs:
        for found in unlisted(obj):
            if known(found):
                if not isinstance(found.get("metadata"), Mapping) or not found["metadata"].get("name"):
                    raise UsageError(f"{found['kind']} without metadata.name")
                yield found


def known(obj: Obj) -> bool:
    """Whether the semantics read objects of this kind; other groups use the same names for other things."""
    group = GROUPS.get(obj["kind"])
    found, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return group is not None and (found == group or not version)
