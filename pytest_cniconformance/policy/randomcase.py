# SPDX-License-Identifier: Apache-2.0
"""One random case: the pods that take part, and the labels and policies that hold one after the other.

A case says nothing that only a cluster knows, so that one seed draws the same cases everywhere: address blocks
are written around anchors (:data:`ANY`, :data:`OUTSIDE`, a pod) and become CIDRs when the addresses are known.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_cniconformance.policy.builders import network_policy, peer, rule
from pytest_cniconformance.policy.objects import NAME_LABEL

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

ANY, OUTSIDE = "any", "outside"
OUTSIDE_PORT = "$port"
"""Stands for the TCP port of the address outside."""

_V6_LENGTHS = {0: 0, 8: 16, 16: 48, 24: 64, 32: 128}


@dataclass(frozen=True, slots=True)
class Stage:
    """Labels and policies that hold at one time. Policies are unresolved objects, with logical namespaces."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Mapping[str, Mapping[str, str]]
    policies: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: ``stages`` follow one another by update, and after the last all policies are deleted.

    ``outside`` adds an address outside the cluster as a destination, ``services`` a Service before each pod but the twins.
    ``hurried`` stages follow at once, and only the last one is compared. A ``crowded`` case has :data:`CROWD`
    policies before its own that select nobody: dataplanes have limits.
    """

    stages: tuple[Stage, ...]
    outside: bool = False
    hurried: bool = False
    services: bool = False
    crowded: bool = False

    @property
    def pods(self) -> tuple[str, ...]:
        """The pods that take part."""
        return tuple(self.stages[0].pods)

    @property
    def policies(self) -> int:
        """How many policies a reader has to look at: those of the fullest stage."""
        return max(len(stage.policies) for stage in self.stages)

    @property
    def key(self) -> str:
        """The same text for the same case; :meth:`parse` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str | bytes) -> Case:
        """Read what :attr:`key` wrote. Raises ValueError for anything else."""
        try:
            data = json.loads(text)
            stages = [
                Stage(
                    stage["namespaces"],
                    {pod: stage["pods"][pod] for pod in POOL if pod in stage["pods"]},
                    tuple(stage["policies"]),
                )
                for stage in data["stages"]
            ]
            flags = {name: bool(data.get(name)) for name in FLAGS}
            return cls(tuple(stages), **flags)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no case: {error!r}") from None

    @property
    def size(self) -> tuple[int, ...]:
        """What a reader wants least of, most important first; smaller is better."""
        return (len(self.stages), self.policies, len(self.pods), len(self.key))


FLAGS = ("outside", "hurried", "services", "crowded")
"""What a case may have beside its stages; the simplest has none of it."""


def service_before(pod: str) -> str:
    """Return how cells name the Service before a pod of the pool."""
    namespace, _, name = pod.partition("/")
    return f"{namespace}/svc:{name}"


def pod_behind(destination: str) -> str:
    """Return the pod that a cell's destination stands for, itself if it is no Service."""
    return destination.replace("/svc:", "/")


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


def block(anchor: str, length: int, family: int = 0, *, beside: bool = False) -> str:
    """Return the unresolved CIDR of the ``length`` (0, 8, 16, 24 or 32) bits around an anchor.

    ``beside`` it is the block that differs in its last bit: one bit less, and the anchor would be in it.
    """
    return f"${anchor}#{length}#{family}#{int(beside)}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a cluster knows and a case does not: its families, and addresses by family of pods and outside."""

    families: tuple[str, ...] = ("ipv4",)
    pods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    outside_port: int = 443

    def resolve(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Return the policy with CIDRs in the place of blocks around anchors."""
        return {**policy, "spec": self._walk(policy["spec"])}

    def _walk(self, value: Any) -> Any:
        if value == OUTSIDE_PORT:
            return self.outside_port
        if isinstance(value, str) and value.startswith("$"):
            return self._cidr(value)
        if isinstance(value, list | tuple):
            return [self._walk(item) for item in value]
        if isinstance(value, Mapping):
            return {name: self._walk(child) for name, child in value.items()}
        return value

    def _cidr(self, text: str) -> str:
        anchor, length, number, beside = text[1:].split("#")
        family = self.families[int(number) % len(self.families)]
        bits = _V6_LENGTHS[int(length)] if family == "ipv6" else int(length)
        unknown = "2001:db8::1" if family == "ipv6" else "192.0.2.1"  # for documentation: nobody is there
        known = self.outside if anchor == OUTSIDE else self.pods.get(anchor, {})
        network = ipaddress.ip_network((known.get(family, unknown), bits), strict=False)
        if beside == "1":
            last_bit = 1 << (network.max_prefixlen - bits)
            network = ipaddress.ip_network((int(network.network_address) ^ last_bit, bits))
        return str(network)


def renamed(spec: Any, names: Mapping[str, str]) -> Any:
    """Return a policy's spec with other values for the automatic label of namespaces."""
    if isinstance(spec, list | tuple):
        return [renamed(item, names) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    made = {key: renamed(child, names) for key, child in spec.items()}
    if NAME_LABEL in made:
        made[NAME_LABEL] = names.get(made[NAME_LABEL], made[NAME_LABEL])
    if made.get("key") == NAME_LABEL and made.get("values"):
        made["values"] = [names.get(value, value) for value in made["values"]]
    return made


def deviations(case: Case) -> frozenset[str]:
    """Return the requirements, of those that profiles know to be deviated from, that a case depends on."""
    found = set()
    for stage in case.stages:
        for policy in stage.policies:
            spec = policy["spec"]
            types = spec.get("policyTypes") or ("Ingress", "Egress")
            if any(spec.get(kind.lower()) and kind not in types for kind in ("Ingress", "Egress")):
                found.add("NP-DEF-2")
            ports = [port for rule in spec.get("egress") or () for port in rule.get("ports") or ()]
            if any(isinstance(port.get("port"), str) for port in ports):
                found.add("NP-PRT-5")
    return frozenset(found)


def namespaces_of(pods: tuple[str, ...]) -> tuple[str, ...]:
    """Return the namespaces of some pods, each once."""
    return tuple(dict.fromkeys(pod.partition("/")[0] for pod in pods))
