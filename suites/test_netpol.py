# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy v1: what the API says of isolation, peers, ports and change, on live traffic.

Each check applies policies and compares the whole matrix of the grid with the reference semantics.
"""

from __future__ import annotations

import ipaddress

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import ALLOW, Grid
from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.failure import ClusterError, ConformanceFailure, Inconclusive, NotEnforced
from pytest_cniconformance.model.matrix import Cell, Expectation
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

DOCS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
API = "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"
INGRESS, EGRESS = "Ingress", "Egress"


@requirement("NP-ISO-1", feature="networkpolicy/isolation", source=DOCS)
def test_without_policy_everything_is_open(cni_grid: Grid) -> None:
    """A pod that no policy selects is not isolated, in either direction."""
    cni_grid.check("no policy")


@requirement("NP-EMP-4", feature="networkpolicy/isolation", source=DOCS + "#default-deny-all-ingress-traffic")
def test_an_empty_pod_selector_isolates_the_namespace(cni_grid: Grid) -> None:
    """Default deny of ingress isolates every pod of its namespace and no other."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny of ingress in x")


@requirement("NP-DEF-3", feature="networkpolicy/egress", source=DOCS + "#default-deny-all-egress-traffic")
def test_egress_without_rules_denies_all_egress(cni_grid: Grid) -> None:
    """Policy type Egress without rules denies all egress and leaves ingress alone."""
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[EGRESS]))
    cni_grid.check("default deny of egress in x")


@requirement("NP-ISO-2", feature="networkpolicy/isolation", source=API)
def test_policies_add_up(cni_grid: Grid) -> None:
    """Two policies on one pod allow what either allows."""
    cni_grid.apply(
        network_policy(
            "from-y", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})], [port(80)])]
        ),
        network_policy(
            "from-z", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "z"})], [port(81)])]
        ),
    )
    cni_grid.check("y on 80 and z on 81", destinations=["x/a", "x/b"])


@requirement("NP-ISO-3", feature="networkpolicy/isolation", source=DOCS + "#the-two-sorts-of-pod-isolation")
def test_both_ends_must_allow(cni_grid: Grid) -> None:
    """A connection needs the egress of its source and the ingress of its destination."""
    only = peer(pods={"pod": "b"}, namespaces={"ns": "y"})
    cni_grid.apply(
        network_policy("to-b", "x", {"pod": "a"}, egress=[rule([only])], types=[EGRESS]),
        network_policy("from-z", "y", {"pod": "b"}, ingress=[rule([peer(namespaces={"ns": "z"})])]),
    )
    cni_grid.check("the destination refuses", sources=["x/a", "x/b", "z/a"], destinations=["y/a", "y/b"])
    either = [rule([peer(namespaces={"ns": "z"}), peer(namespaces={"ns": "x"})])]
    cni_grid.apply(network_policy("from-z", "y", {"pod": "b"}, ingress=either))
    cni_grid.check("both allow", sources=["x/a", "x/b", "z/a"], destinations=["y/a", "y/b"])


@requirement("NP-EMP-5", feature="networkpolicy/peers", source=API)
def test_a_pod_selector_peer_stays_in_its_namespace(cni_grid: Grid) -> None:
    """A podSelector without namespaceSelector selects pods of the policy's own namespace only."""
    cni_grid.apply(network_policy("own-only", "x", {}, ingress=[rule([peer(pods={})])]))
    cni_grid.check("own namespace only", destinations=["x/a", "x/b", "x/c"])


@requirement("NP-AND-1", feature="networkpolicy/peers", source=DOCS + "#behavior-of-to-and-from-selectors")
def test_selectors_in_one_peer_are_anded(cni_grid: Grid) -> None:
    """The selectors for namespaces and pods are ANDed in one peer, and ORed as two peers."""
    both = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=both))
    cni_grid.check("one peer: y and b", destinations=["x/a"])
    either = [rule([peer(pods={"pod": "b"}), peer(namespaces={"ns": "y"})])]
    cni_grid.apply(network_policy("peers", "x", {"pod": "a"}, ingress=either))
    cni_grid.check("two peers: y or b", destinations=["x/a"])


@requirement("NP-AND-2", feature="networkpolicy/peers", source=API)
def test_rules_are_not_cross_multiplied(cni_grid: Grid) -> None:
    """Peers of one rule do not combine with the ports of another."""
    rules = [
        rule([peer(namespaces={"ns": "y"})], [port(80)]),
        rule([peer(namespaces={"ns": "z"})], [port(81)]),
    ]
    cni_grid.apply(network_policy("two-rules", "x", {"pod": "a"}, ingress=rules))
    cni_grid.check("y on 80 or z on 81", destinations=["x/a"])


@requirement("NP-PRT-1", feature="networkpolicy/ports", source=API)
def test_a_port_means_tcp_unless_it_says_so(cni_grid: Grid) -> None:
    """A port without protocol is TCP; UDP on the same number and other ports stay closed."""
    cni_grid.apply(
        network_policy("tcp-80-81", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, None), port(81)])])
    )
    cni_grid.check("80 and 81 over TCP", destinations=["x/a"], ports=(80, 81))
    cni_grid.apply(network_policy("tcp-80-81", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, None)])]))
    cni_grid.check("80 over TCP", destinations=["x/a"], ports=(80, 81))


@requirement(
    "NP-END-1",
    feature="networkpolicy/endport",
    source="https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/2079-network-policy-port-range",
)
def test_end_port_covers_the_range(cni_grid: Grid) -> None:
    """A range up to endPort allows every port of the range, both ends included, and no other."""
    policy = network_policy("range", "x", {"pod": "a"}, ingress=[rule(ports=[port(80, "TCP", end=81)])])
    _with_port_82(cni_grid)
    cni_grid.apply(policy)
    cni_grid.check("80 to 81", destinations=["x/a"], ports=(80, 81), protocols=(Protocol.TCP,))
    cni_grid.check("82 is outside", destinations=["x/a"], ports=(82,), protocols=(Protocol.TCP,))


def _with_port_82(grid: Grid) -> None:
    """See that port 82 is open while nothing is applied, so that its deny means something."""
    grid.check("no policy", destinations=["x/a"], ports=(82,), protocols=(Protocol.TCP,))


@requirement("NP-IPB-1", feature="networkpolicy/ipblock", source=API)
def test_except_is_cut_out_of_its_block_only(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """An ipBlock allows its range without `except`; another rule may still allow what `except` cut out."""
    address, number = _external_endpoint(cni_grid, cni_kube)
    host = ipaddress.ip_network(address)
    block = str(host.supernet(prefixlen_diff=16))
    source = "x/a"
    cell = Cell(source, address, number)
    probe = Probe(source, address, number, talk=False)

    def seen(verdict: str, title: str) -> None:
        allowed = verdict == "open"

        def wrong() -> str | None:
            observation = cni_grid.probe(probe)[0]
            good = observation.verdict is Verdict.OPEN if allowed else observation.verdict.denied
            return None if good else f"{cell} expected {verdict}, observed {observation}"

        try:
            cni_grid.eventually(title, wrong, deadline=cni_grid.patience())
        except ConformanceFailure as failure:
            if not allowed and "observed open" in str(failure):
                raise NotEnforced(str(failure)) from None
            raise

    def policy(*peers: dict[str, object]) -> dict[str, object]:
        return network_policy("blocks", "x", {"pod": "a"}, egress=[rule(list(peers))], types=[EGRESS])

    seen("open", "no policy")
    cni_grid.apply(policy(peer(cidr=block)))
    try:
        seen("open", f"egress to {block}")
    except ConformanceFailure as failure:
        if address in {ip for node in cni_grid.facts.nodes for ip in node.internal_ips}:
            raise Inconclusive(
                f"{address} is a node's address, which the API lets an ipBlock match or not (NP-IPB-4): {failure}"
            ) from None
        raise
    cni_grid.apply(policy(peer(cidr=block, except_=[str(host)])))
    seen("denied", f"egress to {block} except {host}")
    cni_grid.apply(policy(peer(cidr=block, except_=[str(host)]), peer(cidr=str(host))))
    seen("open", f"egress to {block} except {host}, and to {host}")


def _external_endpoint(grid: Grid, kube: KubeClient) -> tuple[str, int]:
    """Return address and port of an API server: outside the pod network, and reachable from pods."""
    slices = kube.list(
        "discovery.k8s.io/v1", "EndpointSlice", "default", labels="kubernetes.io/service-name=kubernetes"
    )
    nodes = {ip for node in grid.facts.nodes for ip in node.internal_ips}
    found = [
        (address, entry["port"])
        for obj in slices
        for endpoint in obj.get("endpoints") or []
        for address in endpoint["addresses"]
        for entry in obj.get("ports") or []
    ]
    if not found:
        raise Inconclusive("the kubernetes Service has no endpoint that could serve as an external address")
    return min(found, key=lambda pair: pair[0] in nodes)


@requirement(
    "NP-NODE-1", feature="networkpolicy/node", source="https://github.com/kubernetes/enhancements/issues/4558"
)
def test_the_pods_own_node_is_never_denied(cni_grid: Grid) -> None:
    """Under default deny the pod's own node still reaches it, or kubelet probes would fail."""
    agents = cni_grid.node_agents()
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS]))
    cni_grid.check("default deny is in force", destinations=["x/a", "x/b", "x/c"])
    cells = [Cell(agents[cni_grid.pod(key).node].key, key, 80) for key in ("x/a", "x/b", "x/c")]
    cni_grid.expect_open(cells, "from the pod's own node under default deny")


@requirement("NP-SELF-1", feature="networkpolicy/self", source=DOCS + "#prerequisites")
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


@requirement("NP-REP-1", feature="networkpolicy/replies", source=DOCS + "#the-two-sorts-of-pod-isolation")
def test_replies_to_allowed_connections_pass(cni_grid: Grid) -> None:
    """Replies pass although the server may send nothing and the client may receive nothing of its own."""
    cni_grid.apply(
        network_policy(
            "server",
            "y",
            {"pod": "b"},
            ingress=[rule([peer(namespaces={"ns": "x"})])],
            egress=[],
            types=[INGRESS, EGRESS],
        ),
        network_policy(
            "client",
            "x",
            {"pod": "a"},
            ingress=[],
            egress=[rule([peer(namespaces={"ns": "y"})])],
            types=[INGRESS, EGRESS],
        ),
    )
    cni_grid.check("client to server only", sources=["x/a", "y/b"], destinations=["x/a", "y/b"])


@requirement("NP-DYN-3", feature="networkpolicy/dynamics", source=API)
def test_an_updated_policy_takes_effect(cni_grid: Grid) -> None:
    """After an update the old rules no longer allow and the new ones do."""
    for number in (80, 81):
        cni_grid.apply(network_policy("moving", "x", {"pod": "a"}, ingress=[rule(ports=[port(number)])]))
        cni_grid.check(f"only {number}", destinations=["x/a"])


@requirement("NP-DYN-4", feature="networkpolicy/dynamics", source=API)
def test_a_deleted_policy_leaves_nothing_behind(cni_grid: Grid) -> None:
    """Deleting one of two policies keeps the other; deleting both ends the isolation."""
    first = network_policy("first", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})])])
    second = network_policy("second", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "z"})])])
    cni_grid.apply(first, second)
    cni_grid.check("y and z", destinations=["x/a"])
    cni_grid.delete(first)
    cni_grid.check("z only", destinations=["x/a"])
    cni_grid.delete(second)
    cells = [Cell(s, "x/a", 80) for s in cni_grid.pods if not cni_grid.pod(s).host_network]
    cni_grid.expect(
        {cell: Expectation(ALLOW, ("no policy selects x/a any more",)) for cell in cells}, "all deleted"
    )
