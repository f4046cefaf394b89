# SPDX-License-Identifier: Apache-2.0
"""Traffic to load-balancer addresses: from outside and inside, by every protocol, and only where it is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.balancers import PORT, Balancers
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.fixtures.vantage import Vantage, client_address_wrong
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.probe.questions import LinkOwners, link_owners

pytestmark = pytest.mark.loadbalancer

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer"
API = "https://kubernetes.io/docs/reference/kubernetes-api/core/service-v1/#ServiceSpec"
LOCAL = "https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip"
NODEPORTS = (
    "https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-nodeport-allocation"
)
MIXED = "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1435-mixed-protocol-lb"
INSIDE = (
    "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1860-kube-proxy-IP-node-binding"
)
LAYER2 = "https://metallb.io/concepts/layer2/"
ELSEWHERE = {"ipv4": "192.0.2.0/24", "ipv6": "2001:db8::/32"}
"""Ranges without any client in them (RFC 5737, RFC 3849)."""
CONNECTIONS = 20
SILENCES = 5
"""So many questions to the link without an answer, each of four frames, and there is nobody on it."""


@pytest.mark.smoke
@requirement("LB-REACHABLE", feature="loadbalancer/reachability", source=DOCS)
def test_a_load_balancer_answers_from_outside(cni_balancers: Balancers, cni_external: Vantage) -> None:
    """The address of a LoadBalancer Service answers from outside the cluster, every time."""
    service = cni_balancers.create("reachable")
    cni_balancers.answered(cni_external, service.addresses[0], times=CONNECTIONS)


@requirement("LB-INSIDE", feature="loadbalancer/reachability", source=INSIDE)
def test_a_load_balancer_answers_pods(cni_grid: Grid, cni_balancers: Balancers) -> None:
    """Pods on every node reach the address of a LoadBalancer Service too."""
    address = cni_balancers.create("inside").addresses[0]

    def wrong() -> str | None:
        for pod in cni_grid.one_per_node():
            seen = cni_grid.probe(Probe(pod.key, address, PORT))[0]
            if seen.verdict is not Verdict.OPEN or seen.responder != "y/b":
                return f"{pod.key} → {address}:{PORT}: {seen}"
        return None

    cni_grid.eventually("a load balancer's address from inside", wrong)


@pytest.mark.smoke
@requirement("LB-ETP-LOCAL", feature="loadbalancer/source-address", source=LOCAL)
def test_traffic_policy_local_preserves_the_client(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local the backend sees the address of the client, not of a node."""
    cni_balancers.need("local")
    address = cni_balancers.create("local", externalTrafficPolicy="Local").addresses[0]

    def wrong() -> str | None:
        # Asked again: the address may have been another Service's, whose rules linger on a node for a moment.
        return client_address_wrong(cni_grid, cni_external, cni_balancers.answered(cni_external, address))

    cni_grid.eventually("client address", wrong)


@requirement("LB-LOCAL-NODES", feature="loadbalancer/local", source=LOCAL)
def test_only_nodes_with_backends_attract_traffic(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """With externalTrafficPolicy Local, wherever the only backend runs, every connection from outside reaches it."""
    cni_balancers.need("local")
    keys = cni_balancers.movers()
    address = ""
    for key in keys:
        cni_grid.relabel_for_check(key, {"attracts": "yes"})
        if not address:
            service = cni_balancers.create(
                "attract", backend={"attracts": "yes"}, externalTrafficPolicy="Local"
            )
            address = service.addresses[0]
        for other in keys:
            if other != key:
                cni_grid.relabel(other, {"attracts": None})
        cni_balancers.answered(cni_external, address, [key], times=CONNECTIONS)


@requirement("LB-RANGES", feature="loadbalancer/source-ranges", source=API)
def test_source_ranges_keep_other_clients_out(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """Nodes enforce loadBalancerSourceRanges: they stop a client outside the ranges and let one within through."""
    cni_balancers.need("source-ranges", "local")
    if not cni_external.outside:
        raise Inconclusive(f"the vantage is {cni_external.description}: nodes may always reach the Service")
    # Under Local the backend tells the address by which the cluster knows the client, NAT or not.
    more: dict[str, Any] = {"externalTrafficPolicy": "Local"}
    address = cni_balancers.create("ranges", **more).addresses[0]
    client = cni_balancers.answered(cni_external, address)
    elsewhere = ELSEWHERE["ipv6" if ":" in client else "ipv4"]
    cni_balancers.request("ranges", loadBalancerSourceRanges=[elsewhere], **more)
    cni_balancers.silent(cni_external, address, f"admits clients of {elsewhere} only")
    own = f"{client}/{128 if ':' in client else 32}"
    cni_balancers.request("ranges", loadBalancerSourceRanges=[elsewhere, own], **more)
    cni_balancers.answered(cni_external, address)


@requirement("LB-NO-NODEPORTS", feature="loadbalancer/node-ports", source=NODEPORTS)
def test_a_load_balancer_works_without_node_ports(cni_balancers: Balancers, cni_external: Vantage) -> None:
    """With allocateLoadBalancerNodePorts false no node port is taken, and the address answers all the same."""
    cni_balancers.need("without-node-ports")
    service = cni_balancers.create("no-node-ports", allocateLoadBalancerNodePorts=False)
    if taken := [entry["nodePort"] for entry in service.obj["spec"]["ports"] if entry.get("nodePort")]:
        raise ConformanceFailure(f"node ports were allocated although the Service declines them: {taken}")
    cni_balancers.answered(cni_external, service.addresses[0])


@requirement("LB-MIXED", feature="loadbalancer/protocols", source=MIXED)
def test_tcp_and_udp_share_a_load_balancer(cni_balancers: Balancers, cni_external: Vantage) -> None:
    """A Service with TCP and UDP on one port number answers both on its address."""
    cni_balancers.need("mixed-protocols")
    service = cni_balancers.create("mixed", ports=[port(PORT, 80), port(PORT, 80, "UDP")])
    for protocol in (Protocol.TCP, Protocol.UDP):
        cni_balancers.answered(cni_external, service.addresses[0], protocol=protocol)


@requirement("LB-ONE-OWNER", level=SHOULD, feature="loadbalancer/announcement", source=LAYER2)
def test_one_node_answers_for_the_address(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """On the link one node alone answers ARP or neighbour discovery for the address of a Service."""
    cni_balancers.need("one-owner")
    address = cni_balancers.create("owner").addresses[0]
    cni_balancers.answered(cni_external, address)

    asked: list[LinkOwners] = []

    def wrong() -> str | None:
        asked.append(link_owners(cni_grid.agent(cni_external.key), address))
        owners, error = asked[-1].owners, asked[-1].error
        if not owners and not error and len(asked) < SILENCES:
            return f"nobody answers for {address}"
        known = [one.remembered for one in asked if one.remembered]
        if known and not error and not any(one.owners for one in asked):
            raise ConformanceFailure(
                f"nobody answers for {address} on the link of {cni_external.description}: its traffic goes to "
                f"{known[0]}, which it remembers; other clients do not reach the address"
            )
        if error or not owners:
            reason = error or "nobody answers there: a router lies between, or routes announce the address"
            raise Inconclusive(
                f"the link of {cni_external.description} cannot be asked for {address}: {reason}"
            )
        # While an address moves two nodes may answer for a moment.
        return f"{len(owners)} answer for {address}: {', '.join(owners)}" if len(owners) > 1 else None

    cni_grid.eventually("who answers for an address", wrong)


@requirement("LB-WITHDRAW", feature="loadbalancer/release", source=DOCS)
def test_a_deleted_service_is_answered_no_more(
    cni_grid: Grid, cni_balancers: Balancers, cni_services: Services, cni_external: Vantage
) -> None:
    """After a Service's deletion its pods are no longer reached by its address."""
    address = cni_balancers.create("withdrawn").addresses[0]
    cni_balancers.answered(cni_external, address)
    cni_services.delete(cni_services.get("withdrawn", "y"))
    cni_balancers.silent(cni_external, address, "belongs to no Service of this check any more")
