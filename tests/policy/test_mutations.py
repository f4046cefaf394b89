# SPDX-License-Identifier: Apache-2.0
"""The table of the catalogue is sharp: real defects, put into the evaluator, make the row for them fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pytest_cniconformance.policy import compiled, evaluate, peers, ports, selectors
from pytest_cniconformance.policy.addresses import AddressIndex, IpBlock
from pytest_cniconformance.policy.compiled import Rule
from pytest_cniconformance.policy.objects import Pod
from pytest_cniconformance.policy.peers import Match
from pytest_cniconformance.policy.population import Population
from pytest_cniconformance.policy.ports import PortRange, Ports
from tests.policy.catalogue import Case
from tests.policy.test_catalogue import CASES

Mutation = Callable[[pytest.MonkeyPatch], None]


def except_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IpBlock, "parse", classmethod(lambda cls, cidr, _=(): cls(ports_network(cidr))))


def ports_network(text: str) -> Any:
    from pytest_cniconformance.policy.addresses import parse_network

    return parse_network(text)


def end_port_ignored(patch: pytest.MonkeyPatch) -> None:
    real = ports._entry
    patch.setattr(ports, "_entry", lambda entry: real({k: v for k, v in entry.items() if k != "endPort"}))


def end_port_exclusive(patch: pytest.MonkeyPatch) -> None:
    real = ports._entry

    def entry(given: Any) -> Any:
        made = real(given)
        if isinstance(made, PortRange) and made.last > made.first:
            return PortRange(made.protocol, made.first, made.last - 1)
        return made

    patch.setattr(ports, "_entry", entry)


def and_as_or(patch: pytest.MonkeyPatch) -> None:
    real = peers.compile_peer

    def either(peer: Any, namespace: str, population: Population) -> Any:
        if "podSelector" in peer and "namespaceSelector" in peer:
            one, other = (
                real({key: peer[key]}, namespace, population) for key in ("podSelector", "namespaceSelector")
            )
            return dataclasses.replace(one, sure=one.sure | other.sure)
        return real(peer, namespace, population)

    patch.setattr(compiled, "compile_peer", either)


def pod_selector_everywhere(patch: pytest.MonkeyPatch) -> None:
    real = peers.compile_peer
    patch.setattr(
        compiled,
        "compile_peer",
        lambda peer, ns, pop: real(peer if "ipBlock" in peer else {"namespaceSelector": {}, **peer}, ns, pop),
    )


def types_by_section(patch: pytest.MonkeyPatch) -> None:
    def types(spec: Any) -> tuple[str, ...]:
        return tuple(
            t for t in ("Ingress", "Egress") if spec.get(t.lower()) or t in (spec.get("policyTypes") or [])
        )

    patch.setattr(compiled, "policy_types", types)


def egress_only_isolates_egress_only(patch: pytest.MonkeyPatch) -> None:
    real = compiled.policy_types
    patch.setattr(
        compiled,
        "policy_types",
        lambda spec: ("Egress",) if spec.get("egress") and not spec.get("policyTypes") else real(spec),
    )


def protocol_ignored(patch: pytest.MonkeyPatch) -> None:
    real = Ports.in_ranges
    patch.setattr(
        Ports, "in_ranges", lambda self, port, _: any(real(self, port, p) for p in ("TCP", "UDP", "SCTP"))
    )


def named_port_of_any_protocol(patch: pytest.MonkeyPatch) -> None:
    def match(self: Ports, port: int, protocol: str, named: Any) -> bool:
        by_name = any(
            port in numbers for (name, _), numbers in named.items() for e in self.names if e.name == name
        )
        return self.in_ranges(port, protocol) or by_name

    patch.setattr(Ports, "match", match)


def unknown_named_port_opens_all(patch: pytest.MonkeyPatch) -> None:
    real = Ports.match

    def match(self: Ports, port: int, protocol: str, named: Any) -> bool:
        unknown = any((e.name, e.protocol) not in named for e in self.names)
        return unknown or real(self, port, protocol, named)

    patch.setattr(Ports, "match", match)


def sidecars_forgotten(patch: pytest.MonkeyPatch) -> None:
    from pytest_cniconformance.policy import objects

    patch.setattr(objects, "named_ports", lambda spec: ports.named_ports({"containers": spec["containers"]}))


def negation_needs_the_key(patch: pytest.MonkeyPatch) -> None:
    real = selectors.LabelIndex.select

    def select(self: selectors.LabelIndex, selector: Any) -> int:
        mask = real(self, selector)
        for key, operator, _ in selectors.requirements(selector):
            if operator == "NotIn":
                mask &= self._having.get(key, 0)
        return mask

    patch.setattr(selectors.LabelIndex, "select", select)


def values_dropped(patch: pytest.MonkeyPatch) -> None:
    real = selectors.requirements
    patch.setattr(selectors, "requirements", lambda s: [(k, op, v[:1]) for k, op, v in real(s)])


def only_first_peer(patch: pytest.MonkeyPatch) -> None:
    real = compiled._peers
    patch.setattr(compiled, "_peers", lambda entries, ns, pop: real((entries or [])[:1], ns, pop))


def only_first_rule(patch: pytest.MonkeyPatch) -> None:
    real = compiled.Policy.rules
    patch.setattr(
        compiled.Policy, "rules", lambda self, d: None if real(self, d) is None else real(self, d)[:1]
    )


def rules_multiplied(patch: pytest.MonkeyPatch) -> None:
    real = compiled.Policy.rules

    def rules(self: compiled.Policy, direction: Any) -> tuple[Rule, ...] | None:
        own = real(self, direction)
        return own and tuple(Rule(a.number, a.peers, b.ports) for a in own for b in own)

    patch.setattr(compiled.Policy, "rules", rules)


def last_policy_wins(patch: pytest.MonkeyPatch) -> None:
    real = evaluate.ClusterState.isolating
    patch.setattr(evaluate.ClusterState, "isolating", lambda self, n, d: real(self, n, d)[-1:])


def blocks_match_pods_for_sure(patch: pytest.MonkeyPatch) -> None:
    real = peers.Peer.match_pod
    patch.setattr(peers.Peer, "match_pod", lambda self, n, f: Match.YES if real(self, n, f) else Match.NO)


def blocks_never_match_pods(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AddressIndex, "select", lambda self, block: 0)


def own_node_denied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evaluate, "_on_same_node", lambda pod, other: Match.NO)


def finished_pods_stay(patch: pytest.MonkeyPatch) -> None:
    from pytest_cniconformance.policy import state

    patch.setattr(state, "finished", lambda obj: False)


def host_network_is_a_pod_like_any(patch: pytest.MonkeyPatch) -> None:
    real = Pod.of
    patch.setattr(Pod, "of", classmethod(lambda cls, obj: dataclasses.replace(real(obj), host_network=False)))


MUTATIONS: dict[Mutation, str] = {
    except_ignored: "NP-IPB-1",
    end_port_ignored: "NP-END-1",
    end_port_exclusive: "NP-END-2",
    and_as_or: "NP-AND-1",
    pod_selector_everywhere: "NP-EMP-5",
    types_by_section: "NP-DEF-2",
    egress_only_isolates_egress_only: "NP-DEF-1",
    protocol_ignored: "NP-SCTP-2",
    named_port_of_any_protocol: "NP-PRT-6",
    unknown_named_port_opens_all: "NP-PRT-7",
    sidecars_forgotten: "NP-PRT-8",
    negation_needs_the_key: "NP-SEL-2",
    values_dropped: "NP-SEL-4",
    only_first_peer: "NP-AND-1 two peers",
    only_first_rule: "NP-AND-2",
    rules_multiplied: "NP-AND-2",
    last_policy_wins: "NP-ISO-2",
    blocks_match_pods_for_sure: "NP-IPB-3",
    blocks_never_match_pods: "NP-IPB-3",
    own_node_denied: "NP-NODE-1",
    finished_pods_stay: "NP-DYN-8",
    host_network_is_a_pod_like_any: "NP-HOST-1",
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_defect_of_the_evaluator_is_caught_by_its_row(
    mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    assert MUTATIONS[mutation] in {case.id for case in CASES if fails(case)}


def fails(case: Case) -> bool:
    try:
        case.verify()
    except AssertionError:
        return True
    return False
