# SPDX-License-Identifier: Apache-2.0
"""The verdicts that a reader asks for: who to whom, on which ports, and per family only where that matters."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy.addresses import FAMILIES, Address, family_of
from pytest_cniconformance.policy.evaluate import Ruling, decide, show
from pytest_cniconformance.policy.matrix import Rulings, fill
from pytest_cniconformance.policy.objects import Node, Pod, Service
from pytest_cniconformance.policy.reasons import L4
from pytest_cniconformance.policy.state import ClusterState, Endpoint

Port = tuple[int, str]
"""(number, protocol)."""


class Entry(NamedTuple):
    """One verdict. ``family`` is empty unless IPv4 and IPv6 are decided differently.

    The sentences of ``ruling`` may hold marks for the two ends (see :class:`Rulings`); ``told`` has none.
    """

    source: str
    destination: str
    port: int
    protocol: str
    family: str
    ruling: Ruling

    @property
    def told(self) -> Ruling:
        """The ruling with the names of the two ends."""
        return fill(self.ruling, self.source, self.destination)


class Survey:
    """The verdicts between ``sources`` and ``destinations``, named as :func:`decide` does.

    Without ``ports`` each pod and each Service is asked for on the ports that it declares, and any other
    destination on all ports that pods declare. Two ends outside of the cluster are no pair.

    Raises:
        UsageError: a name stands for nothing in ``state``, a source is a Service, or no end is a pod.
    """

    def __init__(
        self,
        state: ClusterState,
        sources: Sequence[str],
        destinations: Sequence[str],
        ports: Sequence[Port] = (),
    ) -> None:
        self._state = state
        self._ends = {name: state.resolve(name) for name in (*sources, *destinations)}
        self.sources, self.destinations = tuple(sources), tuple(destinations)
        for name in sources:
            if isinstance(self._ends[name], Service):
                raise UsageError(
                    f"Service {name} sends nothing: name a pod, a node or an IP address as source"
                )
        if all(self._outside(name) for name in self._ends):
            raise UsageError(f"{' and '.join(self._ends)}: no pod is concerned, so no policy is")
        declared = {port for pod in state.pods for port in pod.ports}
        self._ports = {name: set(ports) or self._declared(name, declared) for name in self.destinations}
        self.ports = sorted(set().union(*self._ports.values()), key=lambda p: (p[0], L4.index(p[1])))
        self._families = {name: self._families_of(end) for name, end in self._ends.items()}
        # Without an ipBlock nothing tells the families apart.
        self._blocks = any(
            peer.block is not None
            for policy in state.policies
            for rule in (*(policy.ingress or ()), *(policy.egress or ()))
            for peer in rule.peers or ()
        )

    @property
    def mute(self) -> tuple[str, ...]:
        """The destinations that declare no port, of which nothing is said."""
        return tuple(name for name in self.destinations if not self._ports[name])

    def serving(self, port: Port) -> tuple[str, ...]:
        """Return the destinations that are asked for on a port."""
        return tuple(name for name in self.destinations if port in self._ports[name])

    def on(self, port: Port) -> Iterator[Entry]:
        """Yield the verdicts for one port, row by row in the order of sources and destinations."""
        number, protocol = port
        rulings = {family: Rulings(self._state, number, protocol, family) for family in FAMILIES}
        destinations = self.serving(port)
        pods = {name for name, end in self._ends.items() if isinstance(end, Pod) and name == end.key}
        for source in self.sources:
            of_pod = source in pods
            for destination in destinations:
                if of_pod and destination in pods:
                    ask = rulings
                elif self._outside(source) and self._outside(destination):
                    continue
                else:
                    ask = None
                families, common = self._between(self._families[source], self._families[destination])
                found = [
                    ask[family].between(source, destination)
                    if ask
                    else decide(self._state, source, destination, number, protocol, family)
                    for family in families
                ]
                if not common:
                    note = f"{source} and {destination} have no address family in common"
                    found = [dataclasses.replace(r, because=(*r.because, note)) for r in found]
                if len(found) == 2 and _differ(*found):
                    for family, ruling in zip(families, found, strict=True):
                        yield Entry(source, destination, number, protocol, family, ruling)
                else:
                    yield Entry(source, destination, number, protocol, "", found[0])

    def family(self, entry: Entry) -> str:
        """Return the family that stands for all of an entry's."""
        return (
            entry.family
            or self._between(self._families[entry.source], self._families[entry.destination])[0][0]
        )

    def __iter__(self) -> Iterator[Entry]:
        """Yield all verdicts, port by port."""
        for port in self.ports:
            yield from self.on(port)

    def _outside(self, name: str) -> bool:
        end = self._ends[name]
        return isinstance(end, Address) and self._state.service_at(end) is None

    def _declared(self, name: str, every: set[Port]) -> set[Port]:
        end = self._ends[name]
        if isinstance(end, Pod):
            return set(end.ports)
        if isinstance(end, Service):
            return {(number, protocol) for number, protocol, _ in end.ports}
        return every

    @functools.cached_property
    def _of_cluster(self) -> tuple[str, ...]:
        """The families of pods that have no address yet: those of the others, else those that policies name."""
        found = {family for pod in self._state.pods for family in pod.addresses}
        if not found:
            rules = (r for p in self._state.policies for r in (*(p.ingress or ()), *(p.egress or ())))
            found = {peer.block.family for r in rules for peer in r.peers or () if peer.block is not None}
        return tuple(family for family in FAMILIES if family in found) or FAMILIES[:1]

    def _families_of(self, end: Endpoint | Service) -> tuple[str, ...]:
        """Return the families of an end's addresses, none if it has no address yet."""
        if isinstance(end, Address):
            return (family_of(end),)
        addresses = end.addresses.values() if isinstance(end, Pod) else end.addresses
        found = {family_of(address) for address in addresses}
        return tuple(family for family in FAMILIES if family in found)

    @functools.cached_property
    def _between(self) -> Callable[[tuple[str, ...], tuple[str, ...]], tuple[tuple[str, ...], bool]]:
        """From the families of two ends: those to ask for, and whether the ends have one in common."""

        @functools.cache
        def between(source: tuple[str, ...], destination: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
            if source and destination:
                common = tuple(family for family in source if family in destination)
            else:
                common = source or destination or self._of_cluster
            families = common or destination
            return families if self._blocks else families[:1], bool(common)

        return between


def _differ(one: Ruling, other: Ruling) -> bool:
    return (one.ingress, one.egress, one.decision) != (other.ingress, other.egress, other.decision)


def name_of(state: ClusterState, text: str) -> str:
    """Return the name under which an end is reported: a pod by its key, a bare name in ``default`` if it is there.

    Raises:
        UsageError: the text stands for nothing.
    """
    if "/" not in text and f"default/{text}" in state.population.number:
        return f"default/{text}"
    end = state.resolve(text)
    if isinstance(end, Pod):
        return show(end)
    return end.name if isinstance(end, Node) else text
