# SPDX-License-Identifier: Apache-2.0
"""The verdict of the API on one connection, and why.

A connection is allowed iff the egress of its source and the ingress of its destination allow it. Where the
API leaves a case to the implementation the decision is ``unspecified``; the ids in the explanations are the
requirements of the catalogue that say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.matrix import Decision
from pytest_cniconformance.policy.addresses import Address, family_of, is_address, parse_address
from pytest_cniconformance.policy.compiled import Direction, Rule
from pytest_cniconformance.policy.objects import Node, Pod, Service
from pytest_cniconformance.policy.peers import Match
from pytest_cniconformance.policy.reasons import (
    DOUBTS,
    HAIRPIN,
    HOST_NETWORK,
    L4,
    OWN_NODE,
    REMOTE_NODE,
    Sentences,
    block_covers,
    block_may_cover,
)
from pytest_cniconformance.policy.services import backends, no_backend
from pytest_cniconformance.policy.state import ClusterState, Endpoint

_ALLOW, _DENY, _OPEN_QUESTION = Decision.ALLOW, Decision.DENY, Decision.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the API says of one connection.

    ``because`` holds the lines that decide: those of the direction that denies or is open, of both otherwise.
    """

    ingress: Decision
    egress: Decision
    decision: Decision
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Half:
    """The decision of one direction, and the sentence that explains it."""

    decision: Decision
    because: str


@dataclass(frozen=True, slots=True)
class _Flow:
    """One connection as one direction sees it. ``destination`` resolves named ports."""

    destination: Endpoint
    port: int
    protocol: str
    family: str

    def covered(self, rule: Rule) -> bool:
        named = self.destination.named if isinstance(self.destination, Pod) else {}
        return rule.ports.match(self.port, self.protocol, named)

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}"


def decide(
    state: ClusterState, source: str, destination: str, port: int, protocol: str = "TCP", family: str = "ipv4"
) -> Ruling:
    """Return what NetworkPolicy v1 says of a new connection.

    Args:
        state: the cluster and its policies.
        source: ``namespace/pod``, a node's name, or an IP address.
        destination: the same, or ``namespace/svc:service``; a Service stands for its backends.
        port: destination port; for pods that of the container, which is what policies see.
        protocol: TCP, UDP or SCTP; what policies mean for others is left open.
        family: ``ipv4`` or ``ipv6``; an IP address for ``source`` or ``destination`` settles it.

    Raises:
        UsageError: a name stands for nothing in ``state``, or the ends are of different families.
    """
    for text in (source, destination):
        if is_address(text):
            family = _settled(source, destination, family_of(parse_address(text)))
    sender, receiver = state.resolve(source), state.resolve(destination)
    if isinstance(sender, Service):
        raise UsageError(f"Service {sender.key} sends nothing: name a pod, a node or an IP address as source")
    service = receiver if isinstance(receiver, Service) else None
    if isinstance(receiver, Address):
        service = state.service_at(receiver)
    if service is None:
        assert not isinstance(receiver, Service)
        return _between(state, sender, receiver, _Flow(receiver, port, str(protocol), family))
    return _through_service(state, sender, service, (port, str(protocol), family))


def _settled(source: str, destination: str, family: str) -> str:
    """Return the family that the addresses among the ends agree on."""
    if any(is_address(text) and family_of(parse_address(text)) != family for text in (source, destination)):
        raise UsageError(f"{source} and {destination} are addresses of different families")
    return family


def _between(state: ClusterState, sender: Endpoint, receiver: Endpoint, flow: _Flow) -> Ruling:
    if isinstance(sender, Pod) and sender is receiver:
        return itself(sender.key)
    egress = _half(state, sender, receiver, Direction.EGRESS, flow)
    ingress = _half(state, receiver, sender, Direction.INGRESS, flow)
    return combine(egress, ingress)


def itself(pod: str) -> Ruling:
    """Return the ruling on a pod and its own address."""
    return Ruling(_ALLOW, _ALLOW, _ALLOW, (f"{pod} always reaches itself (NP-SELF-1)",))


def combine(egress: Half, ingress: Half) -> Ruling:
    """Return the ruling of the two directions together."""
    for decision in (_DENY, _OPEN_QUESTION):
        deciding = [half.because for half in (egress, ingress) if half.decision is decision]
        if deciding:
            return Ruling(ingress.decision, egress.decision, decision, tuple(deciding))
    return Ruling(_ALLOW, _ALLOW, _ALLOW, (egress.because, ingress.because))


def _half(state: ClusterState, subject: Endpoint, other: Endpoint, direction: Direction, flow: _Flow) -> Half:
    """Judge one direction of the connection between the ``subject`` of policies and the ``other`` end."""
    if not isinstance(subject, Pod):
        return Half(_ALLOW, f"policies do not select {show(subject)}, which is no pod")
    policies = state.isolating(state.population.number[subject.key], direction)
    say = Sentences(subject.key, show(other), direction, flow.port, flow.protocol)
    if not policies:
        return Half(_ALLOW, say.free())
    if direction is Direction.INGRESS and _on_same_node(subject, other) is Match.YES:
        return Half(_ALLOW, say.local())
    if flow.protocol not in L4:
        return Half(_OPEN_QUESTION, say.undefined(policies))
    unsure: list[str] = []
    near: list[str] = []
    for policy in policies:
        for rule in policy.rules(direction) or ():
            covered = flow.covered(rule)
            for match, peer, why in _matching(state, rule, other, flow):
                place = say.place(policy, rule, peer)
                if not covered:
                    near.append(say.near(place, rule))
                elif match is Match.YES:
                    return Half(_ALLOW, say.allowed(place))
                else:
                    unsure.append(say.doubtful(place, why))
    if unsure:
        return Half(_OPEN_QUESTION, "; ".join(unsure[:DOUBTS]))
    denied = say.denied(policies, near)
    if exempt := _exempt(subject, other, direction):
        return Half(_OPEN_QUESTION, f"{denied}; but {exempt}")
    return Half(_DENY, denied)


def _matching(
    state: ClusterState, rule: Rule, other: Endpoint, flow: _Flow
) -> Iterator[tuple[Match, int | None, str]]:
    """Yield how each peer of a rule matches: certainty, the peer's place, and why it is uncertain."""
    if rule.peers is None:
        yield Match.YES, None, ""
        return
    for number, peer in enumerate(rule.peers):
        match, why = Match.NO, ""
        if isinstance(other, Pod):
            match = peer.match_pod(state.population.number[other.key], flow.family)
            if peer.block is None:
                why = HOST_NETWORK
            elif other.addresses:
                why = block_covers(peer.text, host_network=other.host_network)
            else:
                why = block_may_cover(peer.text, other.key)
        elif isinstance(other, Node):
            addresses = [a for a in other.addresses if family_of(a) == flow.family]
            match = max((peer.match_address(a, of_node=True) for a in addresses), default=Match.NO)
            why = block_covers(peer.text, host_network=True)
        else:
            match = peer.match_address(other, of_node=False)
        if match:
            yield match, number, why


def _on_same_node(pod: Pod, other: Endpoint) -> Match:
    """Whether ``other`` is the node of ``pod`` or shares its network; MAYBE when the node is not known."""
    if isinstance(other, Pod) and other.host_network:
        name = other.node
    elif isinstance(other, Node):
        name = other.name
    else:
        return Match.NO
    if not pod.node or not name:
        return Match.MAYBE
    return Match.YES if pod.node == name else Match.NO


def _exempt(subject: Pod, other: Endpoint, direction: Direction) -> str:
    """Return why the API leaves a deny of ``subject``'s policies open, or nothing."""
    if subject.host_network:
        return HOST_NETWORK
    if not isinstance(other, Node) and not (isinstance(other, Pod) and other.host_network):
        return ""
    if direction is Direction.INGRESS:
        return REMOTE_NODE
    if _on_same_node(subject, other):
        return OWN_NODE
    return ""


def _through_service(
    state: ClusterState, sender: Endpoint, service: Service, asked: tuple[int, str, str]
) -> Ruling:
    """Judge a connection to a Service: policies see the real client and the real backend (NP-SVC-1)."""
    port, protocol, family = asked
    found = backends(state, service, port, protocol)
    if not found:
        unknown = no_backend(service.key, port, protocol)
        return Ruling(_OPEN_QUESTION, _OPEN_QUESTION, _OPEN_QUESTION, (unknown,))
    rulings = []
    for backend in found:
        flow = _Flow(backend.pod, backend.port, protocol, family)
        if backend.pod is sender:
            rulings.append(_hairpin(state, backend.pod, flow))
            continue
        ruling = _between(state, sender, backend.pod, flow)
        if ruling.egress is _DENY and (early := _before_translation(state, sender, service, flow, port)):
            ruling = combine(early, _half(state, backend.pod, sender, Direction.INGRESS, flow))
        rulings.append(ruling)
    if len({ruling.decision for ruling in rulings}) == 1:
        return rulings[0]
    told = [
        f"{b.pod.key}: {r.decision} ({'; '.join(r.because)})" for b, r in zip(found, rulings, strict=True)
    ]
    return Ruling(_OPEN_QUESTION, _OPEN_QUESTION, _OPEN_QUESTION, ("the backends differ", *told))


def _before_translation(
    state: ClusterState, sender: Endpoint, service: Service, flow: _Flow, port: int
) -> Half | None:
    """Return the egress half if a rule allows the Service's own address, which policies may or may not see."""
    for address in service.addresses:
        for seen in (flow.port, port):
            asked = _Flow(address, seen, flow.protocol, flow.family)
            early = _half(state, sender, address, Direction.EGRESS, asked)
            if family_of(address) == flow.family and early.decision is _ALLOW:
                why = f"{early.because}, but only if policies see the Service's address (NP-IPB-5)"
                return Half(_OPEN_QUESTION, why)
    return None


def _hairpin(state: ClusterState, pod: Pod, flow: _Flow) -> Ruling:
    """Judge a pod that reaches itself through a Service: open as soon as its policies would deny it (NP-SELF-2)."""
    halves = [_half(state, pod, pod, direction, flow) for direction in (Direction.EGRESS, Direction.INGRESS)]
    egress, ingress = (half if half.decision is _ALLOW else Half(_OPEN_QUESTION, HAIRPIN) for half in halves)
    return combine(egress, ingress)


def show(endpoint: Endpoint | Service) -> str:
    """Name an endpoint as explanations do."""
    if isinstance(endpoint, Pod | Service):
        return endpoint.key
    return f"node {endpoint.name}" if isinstance(endpoint, Node) else str(endpoint)
