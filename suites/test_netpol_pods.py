# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy and the kinds of pods: with sidecars, on their way out, of both families, near and far."""

from __future__ import annotations

import json

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.fixtures.topology import PodPlan
from pytest_cniconformance.kube import Obj
from pytest_cniconformance.model.failure import Inconclusive
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy import expected_matrix
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, network_policy, peer, port, rule
from pytest_cniconformance.probe.workload import idle_container, sidecar

pytestmark = pytest.mark.netpol

TCP, UDP = (Protocol.TCP,), (Protocol.UDP,)
SIDECARS = "https://github.com/kubernetes/kubernetes/issues/125285"
LIFECYCLE = NETPOL_DOCS + "#pod-lifecycle"
REUSE = "https://github.com/kubernetes/kubernetes/issues/92697"
LINGER_SECONDS = 120


# -- placement --------------------------------------------------------------------------------------------


def _every_peer(grid: Grid, placement: str) -> None:
    """Check each kind of peer between pods that are so far apart, in both directions."""
    pairs = grid.pairs(placement, protocols=(Protocol.TCP, Protocol.UDP))
    home = [cell for cell in pairs if any(end.startswith("x/") for end in cell[:2])]
    peers = {
        "nobody": [],
        "pods of the namespace": [peer(pods={})],
        "pods by label": [peer(pods={"pod": "b"}), peer(pods={"pod": "c"})],
        "a namespace": [peer(namespaces={"ns": "y"})],
        "pods of a namespace": [
            peer(pods={"pod": "a"}, namespaces={"ns": "y"}),
            peer({"pod": "c"}, {"ns": "z"}),
        ],
    }
    for title, chosen in peers.items():
        for kind in (INGRESS, EGRESS):
            rules = [rule(chosen)] if chosen else []
            ingress, egress = (rules, None) if kind == INGRESS else (None, rules)
            grid.apply(network_policy("placed", "x", {}, ingress=ingress, egress=egress, types=[kind]))
            grid.expect(expected_matrix(grid.state(), home), f"{placement}: {kind} of x, {title}")


@requirement("NP-PLACE-SAME", feature="networkpolicy/placement", source=NETPOL_DOCS)
def test_policies_hold_between_pods_of_one_node(cni_grid: Grid) -> None:
    """Each kind of peer is told from the others between pods on the same node, in both directions."""
    _every_peer(cni_grid, "same-node")


@requirement("NP-PLACE-CROSS", feature="networkpolicy/placement", source=NETPOL_DOCS)
def test_policies_hold_between_pods_of_different_nodes(cni_grid: Grid) -> None:
    """Each kind of peer is told from the others between pods on different nodes, in both directions."""
    _every_peer(cni_grid, "cross-node")


# -- sidecars ---------------------------------------------------------------------------------------------


def _with_sidecar(grid: Grid, key: str, *ports: Obj) -> PodPlan:
    """Return a pod whose restartable init container names these ports; its main container serves them."""
    if not grid.facts.sidecars:
        pytest.skip(f"Kubernetes {grid.facts.version} has no restartable init containers (1.29)")
    idle = idle_container("sidecar", grid.run.settings.image, *ports)
    return PodPlan(key, grid.pod("x/a").node, spec=sidecar(idle), sctp=())


@requirement("NP-PRT-8", feature="networkpolicy/named-ports", source=SIDECARS)
def test_ports_of_sidecars_have_names_too(cni_grid: Grid) -> None:
    """A rule with the name of a port of a restartable init container opens that port."""
    named = {"name": "metrics", "containerPort": 81, "protocol": "TCP"}
    cni_grid.add_for_check([_with_sidecar(cni_grid, "x/sidecar", named)])
    cells = cni_grid.cells(["x/a", "y/a", "z/c"], ["x/sidecar"])
    cni_grid.expect(expected_matrix(cni_grid.state(), cells), "no policy")
    only = [rule(ports=[port("metrics")])]
    cni_grid.apply(network_policy("metrics", "x", {"pod": "sidecar"}, ingress=only))
    cni_grid.check("metrics is 81", sources=["x/a", "y/a", "z/c"], destinations=["x/sidecar"])


@requirement("NP-PRT-9", feature="networkpolicy/named-ports", source=NETPOL_API)
def test_one_name_may_stand_for_a_port_of_each_protocol(cni_grid: Grid) -> None:
    """A name that containers of one pod give to a TCP and to a UDP port is each of them by its protocol."""
    named = {"name": "serve-80-tcp", "containerPort": 81, "protocol": "UDP"}
    second = idle_container("second", cni_grid.run.settings.image, named)
    plan = PodPlan("x/twofold", cni_grid.pod("x/a").node, spec={"containers": [second]}, sctp=())
    cni_grid.add_for_check([plan])
    sources = ["x/a", "y/a", "z/c"]
    cells = cni_grid.cells(sources, ["x/twofold"])
    cni_grid.expect(expected_matrix(cni_grid.state(), cells), "no policy")
    for protocol in (Protocol.UDP, Protocol.TCP):
        only = [rule(ports=[port("serve-80-tcp", protocol)])]
        cni_grid.apply(network_policy("twofold", "x", {"pod": "twofold"}, ingress=only))
        cni_grid.check(f"the name over {protocol}", sources=sources, destinations=["x/twofold"])


# -- pods on their way out ------------------------------------------------------------------------------------


@requirement("NP-DYN-9", feature="networkpolicy/dynamics", source=LIFECYCLE)
def test_a_terminating_pod_keeps_its_policies(cni_grid: Grid) -> None:
    """As long as a deleted pod runs it stays isolated, and stays the peer that its labels make it."""
    plan = PodPlan("x/leaving", cni_grid.pod("x/a").node, {"role": "friend"}, linger_s=LINGER_SECONDS)
    pod = cni_grid.add_for_check([plan])["x/leaving"]
    ends = ["x/a", "x/c", "x/leaving", "y/a", "z/c"]
    cni_grid.check("no policy", sources=ends, destinations=ends, ports=(80,), protocols=TCP)
    cni_grid.apply(
        network_policy("friends", "x", {"pod": "a"}, ingress=[rule([peer(pods={"role": "friend"})])]),
        network_policy("subject", "x", {"role": "friend"}, ingress=[rule([peer(namespaces={"ns": "y"})])]),
    )
    cni_grid.check("before its end", sources=ends, destinations=ends, ports=(80,), protocols=TCP)
    with cni_grid.topology.terminating(pod):
        cni_grid.check("while it terminates", sources=ends, destinations=ends, ports=(80,), protocols=TCP)
        cni_grid.apply(network_policy("friends", "x", {"pod": "a"}, types=[INGRESS]))
        cni_grid.check("a change meanwhile", sources=ends, destinations=ends, ports=(80,), protocols=TCP)


@requirement("NP-DYN-8", feature="networkpolicy/dynamics", source=REUSE)
def test_a_reused_address_belongs_to_its_new_pod_only(cni_grid: Grid) -> None:
    """A pod with the address of a finished one is not the peer that the other was, nor under its policies."""
    annotation = cni_grid.run.profile.address_annotation
    if not annotation:
        pytest.skip(f"{cni_grid.run.profile.title} lets no pod ask for the address of a finished one")
    near = cni_grid.pod("x/a").node
    first = PodPlan("x/first", near, {"role": "friend"}, spec={"restartPolicy": "Never"})
    before = cni_grid.add_for_check([first])["x/first"]
    ends = ["x/a", "x/c", "y/a", "z/c"]
    everyone = [*ends, "x/first"]
    cni_grid.check("no policy", sources=everyone, destinations=everyone, ports=(80,), protocols=TCP)
    cni_grid.apply(
        network_policy("friends", "x", {"pod": "a"}, ingress=[rule([peer(pods={"role": "friend"})])]),
        network_policy("subject", "x", {"role": "friend"}, ingress=[rule([peer(namespaces={"ns": "y"})])]),
    )
    cni_grid.check("its first pod", sources=everyone, destinations=everyone, ports=(80,), protocols=TCP)
    cni_grid.finish("x/first")
    wanted = json.dumps(list(before.addresses.values()))
    after = cni_grid.add_for_check([PodPlan("x/next", near, annotations={annotation: wanted})])["x/next"]
    if after.ip != before.ip:
        raise Inconclusive(f"{annotation}: {wanted} was not followed, the new pod has {after.ip}")
    everyone = [*ends, "x/next"]
    cni_grid.check("its next pod", sources=everyone, destinations=everyone, ports=(80,), protocols=TCP)


# -- both families --------------------------------------------------------------------------------------------


def _needs(grid: Grid, *families: str) -> None:
    missing = [family for family in families if family not in grid.facts.families]
    if missing:
        pytest.skip(f"the pods of this cluster have no {' and '.join(missing)} addresses")


@requirement("NP-DS-1", feature="networkpolicy/dual-stack", source=NETPOL_API)
def test_selectors_hold_for_both_families(cni_grid: Grid) -> None:
    """Peers and ports of a policy hold alike for the IPv4 and the IPv6 addresses of pods."""
    _needs(cni_grid, "ipv4", "ipv6")
    rules = [rule([peer(namespaces={"ns": "y"})], [port(80)])]
    cni_grid.apply(network_policy("both", "x", {}, ingress=rules))
    cni_grid.check("80 from y, in both families", destinations=["x/a", "x/c"])
    cni_grid.apply(network_policy("both", "x", {}, egress=rules, types=[EGRESS]))
    cni_grid.check("80 to y, in both families", sources=["x/a", "x/c"])


@requirement("NP-DS-2", feature="networkpolicy/dual-stack", source=NETPOL_DOCS)
def test_default_deny_leaves_neighbour_discovery_alone(cni_grid: Grid) -> None:
    """A new pod under default deny finds its IPv6 neighbours: what a rule allows works from the start."""
    _needs(cni_grid, "ipv6")
    allowed = [rule([peer(namespaces={"ns": "y"})])]
    both = [INGRESS, EGRESS]
    cni_grid.apply(network_policy("deny", "x", {}, ingress=allowed, egress=allowed, types=both))
    cni_grid.check("from and to y", destinations=["x/a"], ports=(80,))
    near, far = cni_grid.pod("y/a").node, cni_grid.pod("z/a").node
    cni_grid.add_for_check([PodPlan("x/new-1", near), PodPlan("x/new-2", far)])
    ends = ["x/new-1", "x/new-2", "y/a", "z/c"]
    cni_grid.check("new pods, from and to y", sources=ends, destinations=ends, ports=(80,))
