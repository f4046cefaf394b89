# SPDX-License-Identifier: Apache-2.0
"""What the API of NetworkPolicy leaves open: measured and reported, never failed.

Each trait is measured under a policy that is seen to be in force. What could not be measured says so.
"""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import TRAIT, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.placement import near_and_far
from pytest_cniconformance.fixtures.services import Services
from pytest_cniconformance.fixtures.services import port as service_port
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.fixtures.topology import family_of
from pytest_cniconformance.fixtures.traits import Record, placement, record_reach, summed_up, unmeasured
from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Observation, Probe, Protocol, Verdict
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, Rule, network_policy, peer, port, rule
from pytest_cniconformance.probe.questions import Echoes, echo
from pytest_cniconformance.probe.session import AgentError

pytestmark = pytest.mark.netpol

TCP = (Protocol.TCP,)
OTHER_PROTOCOLS = NETPOL_DOCS + "#network-traffic-filtering"
HAIRPIN = "https://github.com/kubernetes-sigs/network-policy-api/pull/390"


def _deny(name: str = "default-deny", *types: str) -> dict[str, object]:
    return network_policy(name, "x", {}, types=types or (INGRESS,))


# -- protocols that policies do not know ----------------------------------------------------------------


@requirement("NP-ICMP-1", level=TRAIT, feature="networkpolicy/icmp", source=OTHER_PROTOCOLS)
def test_icmp_under_policy(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether ICMP echo passes under default deny, under a rule without ports, and under a rule with a port."""
    names = ("icmp-under-default-deny", "icmp-under-allow-all", "icmp-under-port-rule")
    clients = near_and_far(cni_grid, "x/a")

    def ping() -> dict[str, Echoes]:
        wait = cni_grid.window.milliseconds
        try:
            return {key: echo(cni_grid.agent(key), cni_grid.pod("x/a").ip, wait_ms=wait) for key in clients}
        except AgentError as error:
            unmeasured(cni_trait, names, f"pods may not ping: {error}")

    for key, echoes in ping().items():
        if not echoes.answered:
            unmeasured(cni_trait, names, f"{key} → x/a without any policy: {echoes}")
    rules: tuple[tuple[str, list[Rule]], ...] = (
        ("icmp-under-default-deny", []),
        ("icmp-under-allow-all", [rule()]),
        ("icmp-under-port-rule", [rule(ports=[port(80)])]),
    )
    for name, entries in rules:
        cni_grid.apply(network_policy("icmp", "x", {}, ingress=entries, types=[INGRESS]))
        cni_grid.check(name, sources=clients, destinations=["x/a"])
        found = {
            placement(cni_grid, key, "x/a"): "allowed" if e.answered else "denied"
            for key, e in ping().items()
        }
        cni_trait(name, summed_up(found), "")


@requirement("NP-ICMP-2", level=TRAIT, feature="networkpolicy/icmp", source=OTHER_PROTOCOLS)
def test_icmp_errors_of_allowed_traffic(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether the ICMP error that answers an allowed datagram passes, without which path MTU discovery fails."""
    closed = 9
    clients = near_and_far(cni_grid, "x/a")
    probes = [Probe(key, cni_grid.pod("x/a").ip, closed, Protocol.UDP) for key in clients]
    for seen in cni_grid.probe(*probes):
        if seen.verdict is not Verdict.REFUSED:
            why = f"a closed UDP port is not answered by an ICMP error without policy: {seen}"
            unmeasured(cni_trait, ["icmp-errors"], why)
    allowed = [rule(ports=[port(closed, "UDP"), port(80)])]
    server = {"pod": "a"}
    cni_grid.apply(network_policy("closed-port", "x", server, ingress=allowed, types=[INGRESS, EGRESS]))
    cni_grid.check("80/TCP and the closed port", sources=clients, destinations=["x/a"])
    found = zip(clients, cni_grid.probe(*probes), strict=True)
    passed = {
        placement(cni_grid, key, "x/a"): "pass" if seen.verdict is Verdict.REFUSED else "blocked"
        for key, seen in found
    }
    cni_trait("icmp-errors", summed_up(passed), "")


# -- how a deny looks -------------------------------------------------------------------------------------


@requirement("NP-DENY-KIND", level=TRAIT, feature="networkpolicy/verdict", source=NETPOL_API)
def test_how_a_deny_looks(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether denied traffic is dropped in silence or answered, by a reset or an ICMP error."""
    for kind in (INGRESS, EGRESS):
        cni_grid.apply(_deny("default-deny", kind))
        ends = near_and_far(cni_grid, "x/a")
        sources, destinations = (ends, ["x/a"]) if kind == INGRESS else (["x/a"], ends)
        settled = cni_grid.check(f"{kind} is denied", sources=sources, destinations=destinations, ports=(80,))
        for protocol in (Protocol.TCP, Protocol.UDP):
            looks = {
                placement(cni_grid, cell.source, cell.destination): _look(seen)
                for cell, seen in settled.observed.items()
                if cell.protocol is protocol and seen.verdict.denied
            }
            cni_trait(f"denied-{kind.lower()}-{protocol.lower()}", summed_up(looks), "")


def _look(seen: Observation) -> str:
    if seen.verdict is Verdict.DROPPED:
        return "dropped"
    return "reset" if "RST" in seen.cause else "rejected by ICMP"


# -- the pod itself, through its Service --------------------------------------------------------------------


@requirement("NP-SELF-2", level=TRAIT, feature="networkpolicy/self", source=HAIRPIN)
def test_a_pod_that_reaches_itself_through_its_service(
    cni_grid: Grid, cni_services: Services, cni_trait: Record
) -> None:
    """Whether policies apply to a pod that reaches itself through a Service."""
    service = cni_services.create("self", {"pod": "a"}, [service_port(8000, 80)], namespace="x", endpoints=1)
    probe = Probe("x/a", service.cluster_ip, 8000)

    def wrong() -> str | None:
        seen = cni_grid.probe(probe)[0]
        return None if seen.verdict is Verdict.OPEN and seen.responder == "x/a" else str(seen)

    cni_grid.eventually("a pod to itself through its Service, without policy", wrong)
    for name, kind in (("hairpin-under-ingress-deny", INGRESS), ("hairpin-under-egress-deny", EGRESS)):
        cni_grid.apply(_deny("default-deny", kind))
        cni_grid.check(f"{kind} is denied", sources=["x/a", "y/a"], destinations=["x/a", "y/a"], ports=(80,))
        seen = cni_grid.probe(probe)[0]
        if seen.verdict is Verdict.PROBE_ERROR:
            unmeasured(cni_trait, [name], str(seen))
        cni_trait(name, "allowed" if seen.verdict is Verdict.OPEN else "denied", str(seen))


# -- what an ipBlock means inside the cluster -----------------------------------------------------------------


@requirement("NP-IPB-3", level=TRAIT, feature="networkpolicy/ipblock", source=NETPOL_API)
def test_an_ip_block_and_the_addresses_of_pods(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether an ipBlock matches the address of a pod."""
    ends = near_and_far(cni_grid, "x/a")
    blocks = [peer(cidr=f"{ip}/{128 if ':' in ip else 32}") for ip in (cni_grid.pod(key).ip for key in ends)]
    marker = rule([peer(namespaces={"ns": "z"}, pods={"pod": "b"})])
    others = ["z/b", "y/a" if "y/a" not in ends else "y/b"]
    for name, kind in (("ipblock-matches-pods", INGRESS), ("ipblock-matches-pods-egress", EGRESS)):
        rules = [rule(blocks), marker]
        cni_grid.apply(
            network_policy("blocks", "x", {"pod": "a"}, ingress=rules, types=[kind])
            if kind == INGRESS
            else network_policy("blocks", "x", {"pod": "a"}, egress=rules, types=[kind])
        )
        sources, destinations = (others, ["x/a"]) if kind == INGRESS else (["x/a"], others)
        cni_grid.check("z/b only, and the blocks", sources=sources, destinations=destinations, ports=(80,))
        cells = {
            placement(cni_grid, key, "x/a"): cni_grid.cells(
                [key if kind == INGRESS else "x/a"], ["x/a" if kind == INGRESS else key], (80,), TCP
            )[0]
            for key in ends
        }
        record_reach(cni_grid, cni_trait, name, cells, words=("yes", "no"))


@requirement("NP-IPB-5", level=TRAIT, feature="networkpolicy/ipblock", source=NETPOL_DOCS)
def test_an_ip_block_and_the_address_of_a_service(
    cni_grid: Grid, cni_services: Services, cni_trait: Record
) -> None:
    """Whether an egress ipBlock matches a cluster IP, so that policies see it before its translation."""
    service = cni_services.create("block", {"pod": "a"}, [service_port(8000, 80)], namespace="y", endpoints=1)
    probe = Probe("x/a", service.cluster_ip, 8000)

    def wrong() -> str | None:
        seen = cni_grid.probe(probe)[0]
        return None if seen.verdict is Verdict.OPEN else str(seen)

    cni_grid.eventually("the Service without policy", wrong)
    block = peer(cidr=f"{service.cluster_ip}/{128 if ':' in service.cluster_ip else 32}")
    marker = rule([peer(namespaces={"ns": "z"})], [port(80)])
    cni_grid.apply(
        network_policy("blocks", "x", {"pod": "a"}, egress=[rule([block]), marker], types=[EGRESS])
    )
    cni_grid.check("to z and the cluster IP", sources=["x/a"], destinations=["y/a", "z/a"], ports=(80,))
    cell = Cell("x/a", service.cluster_ip, 8000, Protocol.TCP, family_of(service.cluster_ip))
    record_reach(cni_grid, cni_trait, "ipblock-matches-cluster-ip", {"from a pod": cell}, words=("yes", "no"))
