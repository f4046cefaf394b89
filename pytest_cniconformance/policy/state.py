# SPDX-License-Identifier: Apache-2.0
"""The cluster as the semantics see it: who is there, and which policies hold."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy.addresses import Address, is_address, parse_address
from pytest_cniconformance.policy.compiled import Direction, Policy, compile_policy
from pytest_cniconformance.policy.objects import Node, Obj, Pod, Service, finished, flatten, labels_of
from pytest_cniconformance.policy.population import Population, namespace_labels
from pytest_cniconformance.policy.selectors import bits
from pytest_cniconformance.policy.shape import misshapen_metadata
from pytest_cniconformance.policy.validate import InvalidPolicy, invalid

T = TypeVar("T")
Endpoint = Pod | Node | Address
"""A pod, a node (by one of its addresses or its name), or an address outside the cluster."""


class ClusterState:
    """Namespaces, pods, nodes, Services and NetworkPolicies, indexed for evaluation. Never changes.

    Build it with :meth:`from_objects`; :meth:`with_policies` swaps the policies and keeps the index of pods.
    """

    def __init__(
        self,
        population: Population,
        *,
        namespaces: Mapping[str, Mapping[str, str]],
        nodes: Sequence[Node] = (),
        services: Sequence[Service] = (),
        policies: Sequence[Policy] = (),
        external: Sequence[str] = (),
        finished_pods: frozenset[str] = frozenset(),
    ) -> None:
        self.population = population
        self.namespaces = namespaces
        self.nodes = tuple(nodes)
        self.services = tuple(services)
        self.policies = tuple(policies)
        self.external = tuple(external)
        self._finished = finished_pods
        self._node_by_name = {node.name: node for node in self.nodes}
        self._node_by_address = {address: node for node in self.nodes for address in node.addresses}
        for pod in population.pods:
            if pod.host_network:  # its addresses are its node's, whether or not the Node object is at hand
                for address in pod.addresses.values():
                    node = self._node_by_name.get(pod.node) or Node(pod.node, tuple(pod.addresses.values()))
                    self._node_by_address.setdefault(address, node)

    @classmethod
    def from_objects(cls, objs: Iterable[Obj], *, external: Iterable[str] = ()) -> ClusterState:
        """Read Kubernetes objects in any order, lists included; other kinds are ignored.

        Finished pods are left out: neither do policies select them nor do peers match them (NP-DYN-8).
        A namespace that is not among the objects has only its automatic label. Of two objects with the
        same name the later counts, as with ``kubectl apply``.

        Args:
            objs: raw objects; Namespace, Pod, Node, Service and NetworkPolicy count.
            external: addresses outside the cluster that matter to the reader.

        Raises:
            UsageError: an object cannot be read.
            InvalidPolicy: the API server would reject a policy; the message has its reasons.
        """
        kinds: dict[str, dict[tuple[str, str], Obj]] = {}
        for obj in flatten(objs):
            metadata = obj["metadata"]
            namespace = str(metadata.get("namespace") or "default")
            kinds.setdefault(str(obj["kind"]), {})[namespace, str(metadata["name"])] = obj
        pods, done = [], set()
        for (namespace, name), obj in kinds.get("Pod", {}).items():
            if finished(obj):
                done.add(f"{namespace}/{name}")
            else:
                pods.append(_read(Pod.of, obj))
        namespaces = {
            name: _read(lambda obj: namespace_labels(obj["metadata"]["name"], labels_of(obj)), obj)
            for (_, name), obj in kinds.get("Namespace", {}).items()
        }
        for pod in pods:
            namespaces.setdefault(pod.namespace, namespace_labels(pod.namespace, {}))
        state = cls(
            Population(pods, namespaces),
            namespaces=namespaces,
            nodes=[_read(Node.of, obj) for obj in kinds.get("Node", {}).values()],
            services=[_read(Service.of, obj) for obj in kinds.get("Service", {}).values()],
            external=[str(parse_address(text)) for text in external],
            finished_pods=frozenset(done),
        )
        return state.with_policies(kinds.get("NetworkPolicy", {}).values())

    def with_policies(self, objs: Iterable[Obj]) -> ClusterState:
        """Return the same cluster with exactly these NetworkPolicies.

        Raises:
            InvalidPolicy: the API server would reject one of them.
        """
        policies = list(objs)
        wrong = [(obj, reasons) for obj in policies if (reasons := invalid(obj))]
        if wrong:
            raise InvalidPolicy(wrong)
        return ClusterState(
            self.population,
            namespaces=self.namespaces,
            nodes=self.nodes,
            services=self.services,
            policies=[compile_policy(obj, self.population) for obj in policies],
            external=self.external,
            finished_pods=self._finished,
        )

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The pods that are not finished, in the order of their objects."""
        return self.population.pods

    @functools.cached_property
    def _by_pod(self) -> dict[Direction, dict[int, tuple[Policy, ...]]]:
        found: dict[Direction, dict[int, list[Policy]]] = {direction: {} for direction in Direction}
        for policy in self.policies:
            for direction in Direction:
                if policy.rules(direction) is not None:
                    for number in bits(policy.sure | policy.maybe):
                        found[direction].setdefault(number, []).append(policy)
        return {d: {n: tuple(policies) for n, policies in pods.items()} for d, pods in found.items()}

    def isolating(self, number: int, direction: Direction) -> tuple[Policy, ...]:
        """Return the policies that isolate the pod of this number in a direction, in the order given."""
        return self._by_pod[direction].get(number, ())

    @functools.cached_property
    def _service_by_address(self) -> dict[Address, Service]:
        return {address: service for service in self.services for address in service.addresses}

    def service_at(self, address: Address) -> Service | None:
        """Return the Service that owns an address (cluster, external or load balancer IP)."""
        return self._service_by_address.get(address)

    def resolve(self, name: str) -> Endpoint | Service:
        """Return what ``namespace/pod``, ``namespace/svc:service``, a node's name or an IP address stands for.

        Raises:
            UsageError: no such pod, or one that has finished.
        """
        if is_address(name):
            address = parse_address(name)
            if (node := self._node_by_address.get(address)) is not None:
                return node
            number = self.population.by_address.get(address)
            return address if number is None else self.pods[number]
        if (number := self.population.number.get(name)) is not None:
            return self.pods[number]
        if name in self._node_by_name:
            return self._node_by_name[name]
        if name in self._finished:
            raise UsageError(f"pod {name} has finished: it neither sends nor receives traffic")
        if "/svc:" in name:
            for service in self.services:
                if name == f"{service.namespace}/svc:{service.name}":
                    return service
            raise UsageError(f"no Service {name.replace('/svc:', '/')!r} in the objects given")
        near = [key for key in self.population.number if key.startswith(f"{name}-")]  # a workload's pods
        near = near or difflib.get_close_matches(name, self.population.number, n=1)
        hint = f"did you mean {near[0]}?" if near else "name a namespace/pod, a node or an IP address"
        raise UsageError(f"no pod {name!r} in the objects given; {hint}")


def _read(reader: Callable[[Obj], T], obj: Obj) -> T:
    """Read one object; a shape that the API would not have accepted is the user's to mend."""
    metadata = obj["metadata"]
    what = f"{obj['kind']} {metadata.get('namespace') or 'default'}/{metadata['name']} cannot be read: "
    for reason in misshapen_metadata(obj):
        raise UsageError(what + reason)
    try:
        return reader(obj)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{what}{error}") from None
    except KeyError as error:
        raise UsageError(f"{what}{error.args[0]} is missing") from None
    except (TypeError, AttributeError) as error:
        raise UsageError(f"{what}a field has the wrong type ({error})") from None
