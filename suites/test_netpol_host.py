# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: the pod's own node, other nodes, pods on the host network, and the pod itself."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from pytest_cniconformance.fixtures import TRAIT, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.fixtures.topology import PlacedPod, family_of
from pytest_cniconformance.fixtures.traits import UNMEASURED, Record, record_reach
from pytest_cniconformance.model.failure import ClusterError, ConformanceFailure, Inconclusive, NotEnforced
from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy, peer, port, rule
from pytest_cniconformance.probe.questions import host_port

pytestmark = pytest.mark.netpol

ISOLATION = NETPOL_DOCS + "#the-two-sorts-of-pod-isolation"
HOST_NETWORK = NETPOL_DOCS + "#networkpolicy-and-hostnetwork-pods"
TCP = (Protocol.TCP,)


def _from_own_node(grid: Grid, keys: list[str], protocols: tuple[Protocol, ...] = TCP) -> list[Cell]:
    """Return the cells to these pods from the agents on their own nodes."""
    agents = grid.node_agents()
    return [
        cell for key in keys for cell in grid.cells([agents[grid.pod(key).node].key], [key], (80,), protocols)
    ]


@pytest.mark.smoke
@requirement("NP-NODE-1", feature="networkpolicy/node", source=ISOLATION)
def test_the_pods_own_node_is_never_denied(cni_grid: Grid) -> None:
    """Under default deny the pod's own node still reaches it, or kubelet probes would fail."""
    cells = _from_own_node(cni_grid, ["x/a", "x/b", "x/c"])
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny is in force", destinations=["x/a", "x/b", "x/c"])
    cni_grid.expect_open(cells, "from the pod's own node under default deny")


@requirement("NP-HOST-2", feature="networkpolicy/node", source=HOST_NETWORK)
def test_host_network_pods_of_the_same_node_are_the_node(cni_grid: Grid) -> None:
    """A hostNetwork pod reaches the isolated pods of its node although no rule selects it."""
    cells = _from_own_node(cni_grid, ["x/a", "x/c"], (Protocol.TCP, Protocol.UDP))
    from_b = [rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("from-b", "x", {}, ingress=from_b, types=[INGRESS]))
    cni_grid.check("x/b only", destinations=["x/a", "x/c"], ports=(80,))
    cni_grid.expect_open(cells, "from hostNetwork pods of the same node, which no rule selects")


@pytest.mark.smoke
@requirement("NP-SELF-1", feature="networkpolicy/self", source=NETPOL_DOCS)
def test_a_pod_always_reaches_itself(cni_grid: Grid) -> None:
    """A pod under default deny in both directions still reaches its own address."""
    address = cni_grid.pod("x/a").ip
    cni_grid.apply(network_policy("deny-all", "x", {}, types=[INGRESS, EGRESS]))

    def not_in_force() -> str | None:
        seen = cni_grid.probe(Probe("y/a", address, 80))[0]
        return None if seen.verdict.denied else f"y/a → x/a:80/TCP expected denied, observed {seen}"

    def unreachable() -> str | None:
        # The loopback address is the control: the usual one is the pod's own address, which is in question here.
        own, loopback = cni_grid.probe(Probe("x/a", address, 80), Probe("x/a", "127.0.0.1", 80))
        if loopback.verdict is not Verdict.OPEN:
            raise ClusterError(f"x/a does not even reach its server on 127.0.0.1: {loopback}")
        return (
            None if own.verdict is Verdict.OPEN else f"x/a → its own address {address}:80/TCP, observed {own}"
        )

    try:
        cni_grid.eventually("deny all in x", not_in_force, deadline=cni_grid.patience())
    except ConformanceFailure as failure:
        if "observed open" in str(failure):
            raise NotEnforced(str(failure)) from None
        raise
    cni_grid.eventually("a pod under deny all", unreachable, deadline=cni_grid.patience())
    cni_grid.check("deny all in x", sources=["x/a", "x/b", "y/a"], destinations=["x/a", "x/b", "y/a"])


@requirement("NP-SELF-1-PORTS", feature="networkpolicy/self", source=NETPOL_DOCS)
def test_a_pod_reaches_itself_on_ports_that_no_rule_opens(cni_grid: Grid) -> None:
    """A pod whose policy opens one port to others reaches itself on all of its ports."""
    only = [rule([peer(namespaces={"ns": "y"})], [port(80)])]
    cni_grid.apply(network_policy("one-port", "x", {}, ingress=only, egress=only, types=[INGRESS, EGRESS]))
    ends = ["x/a", "x/c", "y/a"]
    cni_grid.check("80/TCP from and to y; each pod to itself", sources=ends, destinations=ends)


# -- what the API leaves open -----------------------------------------------------------------------------


def _remote_agent(grid: Grid, key: str) -> PlacedPod:
    """Return the prober on a node other than the one of ``key``."""
    home = grid.pod(key).node
    found = [agent for node, agent in grid.node_agents().items() if node != home]
    if not found:
        raise Inconclusive("the cluster has one node: there is no remote node")
    return found[0]


def _to_agent(grid: Grid, key: str, agent: PlacedPod) -> Cell:
    """Return the cell from a pod to a server on the host network."""
    return Cell(key, agent.ip, host_port(grid.agent(agent.key)), Protocol.TCP, family_of(agent.ip))


def _denied(grid: Grid, record: Record, name: str, cell: Cell) -> bool:
    """Whether a cell is denied by now; if not, the trait ``name`` cannot be told from that."""
    seen = grid.matrix.observe([cell])[cell]
    if not seen.verdict.denied:
        record(name, UNMEASURED, f"{cell} gets through without a rule: {seen.verdict}")
    return seen.verdict.denied


@requirement("NP-NODE-2", level=TRAIT, feature="networkpolicy/node", source=NETPOL_API)
def test_a_remote_node_under_default_deny(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether a node other than the pod's own reaches a pod under default deny, and by an ipBlock."""
    agent = _remote_agent(cni_grid, "x/a")
    (cell, *_) = cni_grid.cells([agent.key], ["x/a"], (80,), TCP)
    cni_grid.expect_open([cell], "from a remote node, without policy")
    source = cni_grid.probe(Probe(agent.key, cni_grid.pod("x/a").ip, 80))[0].peer_ip
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny", sources=["x/b", "z/a"], destinations=["x/a"], ports=(80,))
    record_reach(cni_grid, cni_trait, "remote-node-under-default-deny", {f"as {source}": cell})
    if not _denied(cni_grid, cni_trait, "ipblock-matches-nodes", cell):
        return
    rules = [rule([peer(cidr=str(ip_network(source)))]), rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("default-deny", "x", {}, ingress=rules))
    cni_grid.check(f"x/b and {source}", sources=["x/b", "z/a"], destinations=["x/a"], ports=(80,))
    record_reach(cni_grid, cni_trait, "ipblock-matches-nodes", {f"as {source}": cell}, words=("yes", "no"))


@requirement("NP-NODE-3", level=TRAIT, feature="networkpolicy/node", source=NETPOL_DOCS)
def test_nodes_under_egress_deny(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether a pod under egress deny reaches its own node, and another one."""
    agents, home = cni_grid.node_agents(), cni_grid.pod("x/a").node
    cells = {"to its own node": _to_agent(cni_grid, "x/a", agents[home])}
    for node, agent in agents.items():
        if node != home:
            cells["to another node"] = _to_agent(cni_grid, "x/a", agent)
    cni_grid.expect_open(cells.values(), "to nodes, without policy")
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[EGRESS]))
    cni_grid.check("egress is denied", sources=["x/a"], ports=(80,))
    record_reach(cni_grid, cni_trait, "node-under-egress-deny", cells)


@requirement("NP-IPB-4", level=TRAIT, feature="networkpolicy/ipblock", source=NETPOL_DOCS)
def test_an_egress_block_and_the_address_of_a_node(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether an egress ipBlock matches the address of a node."""
    agent = _remote_agent(cni_grid, "x/a")
    cell = _to_agent(cni_grid, "x/a", agent)
    cni_grid.expect_open([cell], "to a remote node, without policy")
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[EGRESS]))
    cni_grid.check("egress is denied", sources=["x/a"], ports=(80,))
    if not _denied(cni_grid, cni_trait, "ipblock-matches-nodes-egress", cell):
        return
    rules = [rule([peer(cidr=str(ip_network(agent.ip)))]), rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("default-deny", "x", {}, egress=rules, types=[EGRESS]))
    cni_grid.check(f"to x/b and {agent.ip}", sources=["x/a"], ports=(80,))
    record_reach(
        cni_grid, cni_trait, "ipblock-matches-nodes-egress", {"to a node": cell}, words=("yes", "no")
    )


@requirement("NP-HOST-1", level=TRAIT, feature="networkpolicy/host-network", source=HOST_NETWORK)
def test_host_network_pods_under_policy(cni_grid: Grid, cni_trait: Record) -> None:
    """Whether policies select hostNetwork pods, as subjects and as peers."""
    agent = _remote_agent(cni_grid, "x/a")
    inward = _to_agent(cni_grid, "x/a", agent)
    (outward, *_) = cni_grid.cells([agent.key], ["x/a"], (80,), TCP)
    cni_grid.expect_open([inward, outward], "to and from a hostNetwork pod, without policy")
    cni_grid.apply(
        network_policy("default-deny", "host", {}, types=[INGRESS]),
        network_policy("default-deny", "x", {}, types=[INGRESS]),
    )
    cni_grid.check("default deny", sources=["x/b", "z/a"], destinations=["x/a"], ports=(80,))
    subject = {"as a subject": inward}
    record_reach(cni_grid, cni_trait, "host-network-pods-isolated", subject, words=("no", "yes"))
    if not _denied(cni_grid, cni_trait, "host-network-pods-as-peers", outward):
        return
    friends = [rule([peer(namespaces={"ns": "host"})]), rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("default-deny", "x", {}, ingress=friends))
    cni_grid.check("x/b and namespace host", sources=["x/b", "z/a"], destinations=["x/a"], ports=(80,))
    record_reach(
        cni_grid, cni_trait, "host-network-pods-as-peers", {"as a peer": outward}, words=("yes", "no")
    )
