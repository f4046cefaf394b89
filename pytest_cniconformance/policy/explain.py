# SPDX-License-Identifier: Apache-2.0
"""One connection told at length: every policy that could concern it, rule by rule, and why others do not match."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_cniconformance.policy.addresses import Address, family_of
from pytest_cniconformance.policy.compiled import Direction, Policy, Rule
from pytest_cniconformance.policy.evaluate import Ruling, decide, show
from pytest_cniconformance.policy.objects import Node, Pod, Service
from pytest_cniconformance.policy.peers import Match, Peer, selector_text
from pytest_cniconformance.policy.selectors import unmet
from pytest_cniconformance.policy.services import backends
from pytest_cniconformance.policy.state import ClusterState, Endpoint

_STRANGERS = 10
"""So many policies that do not select a pod are named; of more there is only the count."""


def explain(
    state: ClusterState, source: str, destination: str, port: int, protocol: str = "TCP", family: str = "ipv4"
) -> Iterator[str]:
    """Yield lines of prose on what :func:`~pytest_cniconformance.policy.evaluate.decide` says, and why.

    Raises:
        UsageError: as ``decide``.
    """
    ruling = decide(state, source, destination, port, protocol, family)
    yield f"{source} → {destination}:{port}/{protocol}: {ruling.decision}"
    yield from (f"  because {line}" for line in ruling.because)
    sender, receiver = state.resolve(source), state.resolve(destination)
    if sender is receiver or isinstance(sender, Service):
        return
    service = receiver if isinstance(receiver, Service) else None
    if isinstance(receiver, Address):
        service = state.service_at(receiver)
    if service is not None:
        for backend in backends(state, service, port, protocol):
            yield ""
            yield f"behind Service {service.key}:"
            yield from explain(state, source, backend.pod.key, backend.port, protocol, family)
        return
    assert not isinstance(receiver, Service)
    for direction, me, other in (
        (Direction.EGRESS, sender, receiver),
        (Direction.INGRESS, receiver, sender),
    ):
        yield from _direction(state, direction, me, other, receiver, ruling, (port, protocol, family))


def _direction(
    state: ClusterState,
    direction: Direction,
    me: Endpoint,
    other: Endpoint,
    destination: Endpoint,
    ruling: Ruling,
    asked: tuple[int, str, str],
) -> Iterator[str]:
    decision = ruling.egress if direction is Direction.EGRESS else ruling.ingress
    yield ""
    yield f"{direction} of {show(me)}: {decision}"
    if not isinstance(me, Pod):
        yield "  policies select pods only"
        return
    number = state.population.number[me.key]
    strangers: list[Policy] = []
    concerned = False
    for policy in state.policies:
        if policy.namespace != me.namespace:
            continue
        concerned = True
        if not policy.selects(number):
            strangers.append(policy)
        elif policy.rules(direction) is None:
            yield f"  {policy.name} selects {me.key}, but its policyTypes do not list {direction.capitalize()}"
        else:
            yield from _policy(state, policy, direction, me, other, destination, asked)
    for policy in strangers[:_STRANGERS]:
        why = unmet(policy.selector, me.labels)
        yield f"  {policy.name} does not select {me.key}: it wants {selector_text(policy.selector)}, the pod {why}"
    if len(strangers) > _STRANGERS:
        yield f"  {len(strangers) - _STRANGERS} more policies of {me.namespace} do not select {me.key}"
    if not concerned:
        yield f"  namespace {me.namespace} has no policies"


def _policy(
    state: ClusterState,
    policy: Policy,
    direction: Direction,
    me: Pod,
    other: Endpoint,
    destination: Endpoint,
    asked: tuple[int, str, str],
) -> Iterator[str]:
    rules = policy.rules(direction) or ()
    yield f"  {policy.name} selects {me.key}" + ("" if rules else f" and has no {direction} rule")
    port, protocol, family = asked
    named = destination.named if isinstance(destination, Pod) else {}
    for rule in rules:
        fits = rule.ports.match(port, protocol, named)
        yield f"    rule {rule.number}, {_ports(rule, f'{port}/{protocol}', fits=fits)}"
        side = "to" if direction is Direction.EGRESS else "from"
        if rule.peers is None:
            yield f"      {side} anyone: matches"
        for number, peer in enumerate(rule.peers or ()):
            yield f"      peer {number}, {side} {peer.text}: {_peer(state, policy, peer, other, family)}"


def _ports(rule: Rule, flow: str, *, fits: bool) -> str:
    return f"{rule.ports}: {'covers' if fits else 'does not cover'} {flow}"


def _peer(state: ClusterState, policy: Policy, peer: Peer, other: Endpoint, family: str) -> str:
    if peer.block is not None:
        if isinstance(other, Pod):
            match = peer.match_pod(state.population.number[other.key], family)
            return "may match the pod's address" if match else "does not cover the pod's address"
        if isinstance(other, Node):
            covered = any(
                address in peer.block for address in other.addresses if family_of(address) == family
            )
            return "may match the node's address" if covered else f"does not cover {show(other)}"
        return "matches" if other in peer.block else f"does not cover {other}"
    if not isinstance(other, Pod):
        return f"selectors match pods only, not {show(other)}"
    match = peer.match_pod(state.population.number[other.key], family)
    if match is not Match.NO:
        return "matches" if match is Match.YES else "may match a pod on the host network"
    if peer.namespaces is None:
        if other.namespace != policy.namespace:
            return f"{other.key} is in another namespace than the policy"
    elif why := unmet(peer.namespaces, state.namespaces[other.namespace]):
        return f"namespace {other.namespace} {why}"
    return f"{other.key} {unmet(peer.pods or {}, other.labels)}"
