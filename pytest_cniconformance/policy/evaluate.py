# SPDX-License-Identifier: Apache-2.0
"""The verdict of the API on one connection, and why.

A connection is allowed iff the egress of its source and the ingress of its destination allow it. Where the
API leaves a case to the implementation the decision is ``unspecified``; the ids in the explanations are the
requirements of the catalogue that say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_cniconformance.model.matrix import Decision
from pytest_cniconformance.policy.addresses import Address, family_of
from pytest_cniconformance.policy.compiled import Direction, Rule
from pytest_cniconformance.policy.objects import Node, Pod
from pytest_cniconformance.policy.peers import Match
from pytest_cniconformance.policy.services import Backend, backends, no_backend
from pytest_cniconformance.policy.state import ClusterState, Endpoint

_ALLOW, _DENY, _OPEN_QUESTION = Decision.ALLOW, Decision.DENY, Decision.UNSPECIFIED
_NEAR_MISSES = 3


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
class _Half:
    """The decision of one direction."""

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
        destination: the same; the address of a Service stands for its backends.
        port: destination port; for pods that of the container, which is what policies see.
        protocol: TCP, UDP or SCTP.
        family: ``ipv4`` or ``ipv6``; an IP address for ``source`` or ``destination`` settles it.

    Raises:
        UsageError: a name stands for nothing in ``state``.
    """
    sender, receiver = state.resolve(source), state.resolve(destination)
    if isinstance(receiver, Address):
        family = family_of(receiver)
        if (service := state.service_at(receiver)) is not None:
            found = backends(state, service, port, protocol)
            return _through_service(state, sender, receiver, found, service.key, (port, protocol, family))
    elif isinstance(sender, Address):
        family = family_of(sender)
    return _between(state, sender, receiver, _Flow(receiver, port, str(protocol), family))


def _between(state: ClusterState, sender: Endpoint, receiver: Endpoint, flow: _Flow) -> Ruling:
    if isinstance(sender, Pod) and sender is receiver:
        return Ruling(_ALLOW, _ALLOW, _ALLOW, (f"{sender.key} always reaches itself (NP-SELF-1)",))
    egress = _half(state, sender, receiver, Direction.EGRESS, flow)
    ingress = _half(state, receiver, sender, Direction.INGRESS, flow)
    return _combine(egress, ingress)


def _combine(egress: _Half, ingress: _Half) -> Ruling:
    for decision in (_DENY, _OPEN_QUESTION):
        deciding = [half.because for half in (egress, ingress) if half.decision is decision]
        if deciding:
            return Ruling(ingress.decision, egress.decision, decision, tuple(deciding))
    return Ruling(_ALLOW, _ALLOW, _ALLOW, (egress.because, ingress.because))


def _half(
    state: ClusterState, subject: Endpoint, other: Endpoint, direction: Direction, flow: _Flow
) -> _Half:
    """Judge one direction of the connection between the ``subject`` of policies and the ``other`` end."""
    if not isinstance(subject, Pod):
        return _Half(_ALLOW, f"policies do not select {show(subject)}, which is no pod")
    policies = state.isolating(state.population.number[subject.key], direction)
    if not policies:
        return _Half(_ALLOW, f"no policy isolates {subject.key} for {direction}")
    if direction is Direction.INGRESS and _on_same_node(subject, other) is Match.YES:
        return _Half(
            _ALLOW, f"{show(other)} is on the node of {subject.key}, whose traffic always enters (NP-NODE-1)"
        )
    unsure: list[str] = []
    near: list[str] = []
    for policy in policies:
        for rule in policy.rules(direction) or ():
            covered = flow.covered(rule)
            for match, peer, text in _matching(state, rule, other, flow):
                where = f"{policy.name} {direction} rule {rule.number}{peer}"
                if not covered:
                    near.append(f"{where} matches {show(other)} but not {flow} (only {rule.ports})")
                elif match is Match.YES:
                    return _Half(_ALLOW, f"{where} matches {show(other)} on {flow}")
                else:
                    unsure.append(f"{where} may match {show(other)} on {flow}: {text}")
    isolated = f"{', '.join(p.name for p in policies)} isolate{'s' * (len(policies) == 1)} {subject.key} for {direction}"
    if near:
        isolated += f"; no rule matches {show(other)} on {flow}; " + "; ".join(near[:_NEAR_MISSES])
    else:
        isolated += f"; no rule matches {show(other)}"
    if unsure:
        return _Half(_OPEN_QUESTION, "; ".join(unsure))
    if exempt := _exempt(subject, other, direction):
        return _Half(_OPEN_QUESTION, f"{isolated}; but {exempt}")
    return _Half(_DENY, isolated)


def _matching(
    state: ClusterState, rule: Rule, other: Endpoint, flow: _Flow
) -> Iterator[tuple[Match, str, str]]:
    """Yield how each peer of a rule matches: certainty, the peer's place, and why it is uncertain."""
    if rule.peers is None:
        yield Match.YES, "", ""
        return
    for number, peer in enumerate(rule.peers):
        match, text = Match.NO, ""
        if isinstance(other, Pod):
            match = peer.match_pod(state.population.number[other.key], flow.family)
            if peer.block is None:
                text = "the API leaves open what policies mean for pods on the host network (NP-HOST-1)"
            else:
                text = f"{peer.text} covers a pod's address, which the API leaves open (NP-IPB-3)"
                if not other.addresses:
                    text = f"{other.key} has no address yet, and {peer.text} for pods is left open (NP-IPB-3)"
        elif isinstance(other, Node):
            addresses = [a for a in other.addresses if family_of(a) == flow.family]
            match = max((peer.match_address(a, of_node=True) for a in addresses), default=Match.NO)
            text = f"{peer.text} covers a node's address, which the API leaves open (NP-IPB-4)"
        else:
            match = peer.match_address(other, of_node=False)
        if match:
            yield match, f", peer {number}", text


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
        return "the API leaves open what policies mean for pods on the host network (NP-HOST-1)"
    if not isinstance(other, Node) and not (isinstance(other, Pod) and other.host_network):
        return ""
    if direction is Direction.INGRESS:
        return "what a remote node's traffic looks like to the policy is left open (NP-NODE-2)"
    if _on_same_node(subject, other):
        return "whether a pod may always reach its own node is left open (NP-NODE-3)"
    return ""


def _through_service(
    state: ClusterState,
    sender: Endpoint,
    address: Address,
    found: list[Backend],
    service: str,
    asked: tuple[int, str, str],
) -> Ruling:
    """Judge a connection to a Service: policies see the real client and the real backend (NP-SVC-1)."""
    port, protocol, family = asked
    if not found:
        unknown = no_backend(service, port, protocol)
        return Ruling(_OPEN_QUESTION, _OPEN_QUESTION, _OPEN_QUESTION, (unknown,))
    rulings = []
    for backend in found:
        flow = _Flow(backend.pod, backend.port, protocol, family)
        if backend.pod is sender:
            rulings.append(_hairpin(state, backend.pod, flow))
            continue
        ruling = _between(state, sender, backend.pod, flow)
        if ruling.egress is _DENY:
            for seen in (flow.port, port):
                early = _half(
                    state, sender, address, Direction.EGRESS, _Flow(address, seen, protocol, family)
                )
                if early.decision is _ALLOW:
                    text = f"{early.because}, but only if policies see the Service's address (NP-IPB-5)"
                    ruling = _combine(
                        _Half(_OPEN_QUESTION, text), _Half(ruling.ingress, "; ".join(ruling.because))
                    )
                    break
        rulings.append(ruling)
    if len({ruling.decision for ruling in rulings}) == 1:
        return rulings[0]
    told = [
        f"{b.pod.key}: {r.decision} ({'; '.join(r.because)})" for b, r in zip(found, rulings, strict=True)
    ]
    return Ruling(_OPEN_QUESTION, _OPEN_QUESTION, _OPEN_QUESTION, ("the backends differ", *told))


def _hairpin(state: ClusterState, pod: Pod, flow: _Flow) -> Ruling:
    """Judge a pod that reaches itself through a Service: open as soon as its policies would deny it (NP-SELF-2)."""
    halves = [_half(state, pod, pod, direction, flow) for direction in (Direction.EGRESS, Direction.INGRESS)]
    open_question = (
        "whether policies apply to a pod that reaches itself through a Service is left open (NP-SELF-2)"
    )
    egress, ingress = (
        half if half.decision is _ALLOW else _Half(_OPEN_QUESTION, open_question) for half in halves
    )
    return _combine(egress, ingress)


def show(endpoint: Endpoint) -> str:
    """Name an endpoint as explanations do."""
    if isinstance(endpoint, Pod):
        return endpoint.key
    return f"node {endpoint.name}" if isinstance(endpoint, Node) else str(endpoint)
