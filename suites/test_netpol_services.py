# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy and Services: what a policy sees of traffic that was translated on its way, from inside and outside."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from pytest_cniconformance.fixtures import TRAIT, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.names import Names
from pytest_cniconformance.fixtures.northsouth import NorthSouth
from pytest_cniconformance.fixtures.services import Services, node_addresses
from pytest_cniconformance.fixtures.services import port as service_port
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.fixtures.traits import Record, unmeasured
from pytest_cniconformance.fixtures.vantage import seen_from
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive, NotEnforced
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.policy import expected_matrix
from pytest_cniconformance.policy.builders import (
    EGRESS,
    INGRESS,
    Obj,
    expression,
    matching,
    network_policy,
    peer,
    port,
    rule,
)
from pytest_cniconformance.probe.names import resolver_config

pytestmark = pytest.mark.netpol

TCP = (Protocol.TCP,)
SOURCE_IP = (
    "https://kubernetes.io/docs/tutorials/services/source-ip/#source-ip-for-services-with-type-nodeport"
)
HEALTH = "https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy"
DNS = NETPOL_DOCS + "#default-deny-all-egress-traffic"
OFFSET = 7000
"""What the Service of a grid pod adds to the pod's own port number."""


class _ThroughServices:
    """Cells that are dialled through a Service of the destination; policies must see the pods all the same."""

    def __init__(self, grid: Grid, sources: Sequence[str], destinations: Sequence[str]) -> None:
        self._grid = grid
        self._cells = grid.cells(sources, destinations, protocols=TCP)
        self._targets = grid.doors.targets(destinations)
        grid.doors.prove_open(self._cells)

    def check(self, title: str) -> None:
        """Assert that the pairs reach each other through the Services as they would directly."""
        expected = expected_matrix(self._grid.state(), self._cells)
        self._grid.expect(expected, f"{title}, through Services", through=self._targets)


@requirement("NP-PRT-3", feature="networkpolicy/services", source=NETPOL_API)
def test_a_port_is_the_pods_not_the_services(cni_grid: Grid) -> None:
    """Ingress through a Service is judged on the pod's own port; opening the Service's port opens nothing."""
    sources = ["x/b", "y/a", "z/c"]
    services = _ThroughServices(cni_grid, sources, ["x/a"])
    cni_grid.apply(network_policy("ports", "x", {"pod": "a"}, ingress=[rule(ports=[port(80)])]))
    services.check("80, the pod's port")
    cni_grid.apply(network_policy("ports", "x", {"pod": "a"}, ingress=[rule(ports=[port(OFFSET + 80)])]))
    services.check(f"{OFFSET + 80}, the Service's port")


@requirement("NP-PRT-3-EGRESS", feature="networkpolicy/services", source=NETPOL_API)
def test_an_egress_port_is_the_backends_not_the_services(cni_grid: Grid) -> None:
    """Egress through a Service is judged on the backend's own port."""
    services = _ThroughServices(cni_grid, ["x/a"], ["y/a", "y/c"])
    for number in (80, OFFSET + 80):
        only = [rule(ports=[port(number)])]
        cni_grid.apply(network_policy("ports", "x", {"pod": "a"}, egress=only, types=[EGRESS]))
        services.check(f"egress to port {number}")


@requirement("NP-SVC-1", feature="networkpolicy/services", source=NETPOL_DOCS)
def test_a_service_hides_no_client(cni_grid: Grid) -> None:
    """Through a Service a pod's policy sees the client pod itself: those selected get in, others do not."""
    services = _ThroughServices(cni_grid, ["x/b", "x/c", "y/a", "y/b", "z/c"], ["x/a"])
    from_b = [rule([peer(pods={"pod": "b"})])]
    cni_grid.apply(network_policy("from-b", "x", {"pod": "a"}, ingress=from_b))
    services.check("x/b only")
    cni_grid.apply(
        network_policy("from-b", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})])])
    )
    services.check("namespace y only")


@requirement("NP-SVC-2", feature="networkpolicy/services", source=NETPOL_DOCS)
def test_egress_to_a_service_needs_its_backends(cni_grid: Grid) -> None:
    """A rule that selects the backend opens every Service in front of it, and no Service of other pods."""
    services = _ThroughServices(cni_grid, ["x/a", "x/c"], ["y/a", "y/b", "z/b"])
    to_b = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})], [port(80)])]
    cni_grid.apply(network_policy("to-b", "x", {}, egress=to_b, types=[EGRESS]))
    services.check("to y/b on 80")


@requirement("NP-SVC-2-SHARED", feature="networkpolicy/services", source=NETPOL_DOCS)
def test_services_of_one_backend_are_alike(cni_grid: Grid, cni_services: Services) -> None:
    """Two Services with the same backend are allowed alike: a policy cannot tell them apart."""
    second = cni_services.create("second", {"pod": "b"}, [service_port(9000, 80)], namespace="y", endpoints=1)
    probe = Probe("x/a", second.cluster_ip, 9000)

    def wrong(verdict: Verdict) -> str | None:
        seen = cni_grid.probe(probe)[0]
        return None if seen.verdict is verdict else f"{second.cluster_ip}:9000 from x/a: {seen}"

    cni_grid.eventually("the second Service, without policy", lambda: wrong(Verdict.OPEN))
    services = _ThroughServices(cni_grid, ["x/a"], ["y/a", "y/b"])
    to_b = [rule([peer(pods={"pod": "b"}, namespaces={"ns": "y"})], [port(80)])]
    cni_grid.apply(network_policy("to-b", "x", {}, egress=to_b, types=[EGRESS]))
    services.check("to y/b on 80")
    cni_grid.eventually("the second Service of y/b", lambda: wrong(Verdict.OPEN))


# -- clients outside --------------------------------------------------------------------------------------


def _from(*peers: Obj, ports: Sequence[Obj] | None = None) -> Obj:
    return network_policy("front", "x", {"pod": "a"}, ingress=[rule(list(peers) or None, ports)])


def _alternate(number: int) -> int:
    """Return a port for the next of several policies that treat pods alike: so each shows that it has arrived."""
    return (80, 81)[number % 2]


@requirement("NP-EMP-3-EXT", feature="networkpolicy/north-south", source=NETPOL_API)
def test_a_rule_without_peers_is_for_clients_outside_too(cni_grid: Grid, cni_northsouth: NorthSouth) -> None:
    """Default deny keeps clients outside the cluster out, and a rule without peers lets them in on its port."""
    cni_grid.apply(network_policy("front", "x", {"pod": "a"}, types=[INGRESS]))
    cni_northsouth.check("default deny, from outside")
    cni_grid.apply(_from(ports=[port(80)]))
    cni_northsouth.check("80 from everyone, from outside")
    cni_grid.apply(_from())
    cni_northsouth.check("everything from everyone, from outside")


@requirement("NP-EMP-6-EXT", feature="networkpolicy/north-south", source=NETPOL_API)
def test_selectors_that_select_everything_select_pods_only(
    cni_grid: Grid, cni_northsouth: NorthSouth
) -> None:
    """Empty selectors for namespaces and pods select no client outside the cluster."""
    for number, (title, chosen) in enumerate(
        (
            ("all pods of the namespace", peer(pods={})),
            ("all namespaces", peer(namespaces={})),
            ("all pods of all namespaces", peer(pods={}, namespaces={})),
        )
    ):
        on = _alternate(number)
        cni_grid.apply(_from(chosen, ports=[port(on)]))
        cni_northsouth.check(f"{title} on {on}, from outside")


@requirement("NP-SEL-3", feature="networkpolicy/north-south", source=NETPOL_API)
def test_negative_selectors_select_pods_only(cni_grid: Grid, cni_northsouth: NorthSouth) -> None:
    """NotIn and DoesNotExist select no client outside the cluster, which carries no label at all."""
    for operator, values in (("NotIn", ("y",)), ("DoesNotExist", ())):
        lacking = matching(expression("ns" if values else "team", operator, *values))
        for number, chosen in enumerate((peer(namespaces=lacking), peer(pods=lacking, namespaces={}))):
            on = _alternate(number)
            cni_grid.apply(_from(chosen, peer(pods={"pod": "b"}), ports=[port(on)]))
            cni_northsouth.check(f"{operator} on {on}, from outside")


@requirement("NP-SVC-3", feature="networkpolicy/north-south", source=SOURCE_IP)
def test_an_ingress_block_sees_the_clients_address(cni_grid: Grid, cni_northsouth: NorthSouth) -> None:
    """Through a node port that keeps the client's address an ingress ipBlock lets in this client and no other."""
    host = ip_network(cni_northsouth.client)
    beside = next(half for half in host.supernet().subnets() if half != host)
    wide = host.supernet(prefixlen_diff=8)
    cases = (
        ("the client", peer(cidr=str(host))),
        ("the address beside it", peer(cidr=str(beside))),
        ("its network", peer(cidr=str(wide))),
        ("its network but the client", peer(cidr=str(wide), except_=[str(host)])),
        ("its network but the address beside it", peer(cidr=str(wide), except_=[str(beside)])),
    )
    for title, block in cases:
        cni_grid.apply(_from(block, ports=[port(80)]))
        cni_northsouth.check(f"{title}, on 80")


@requirement("NP-IPB-6", level=TRAIT, feature="networkpolicy/north-south", source=SOURCE_IP)
def test_a_block_and_a_client_whose_address_was_translated(
    cni_grid: Grid, cni_services: Services, cni_northsouth: NorthSouth, cni_trait: Record
) -> None:
    """What an ipBlock of the client makes of a node port with externalTrafficPolicy Cluster, by another node."""
    name, vantage = "ipblock-of-client-through-another-node", cni_northsouth.vantage
    service = cni_services.create(
        "anywhere", {"pod": "a"}, [service_port(8500, 80)], namespace="x", endpoints=1, type="NodePort"
    )
    home = node_addresses(cni_grid, service, cni_grid.pod("x/a").node)
    others = [ip for ip in node_addresses(cni_grid, service) if ip not in home]
    if not others:
        unmeasured(cni_trait, [name], "the cluster has one node")
    probe = Probe(vantage.key, others[0], service.node_port(8500))
    seen = cni_grid.probe(probe)[0]

    def wrong() -> str | None:
        nonlocal seen
        seen = cni_grid.probe(probe)[0]
        return None if seen.verdict is Verdict.OPEN else str(seen)

    with seen_from(cni_grid, vantage):
        cni_grid.eventually("the node port of another node, without policy", wrong)
    source = seen.peer_ip
    cni_grid.apply(_from(peer(cidr=str(ip_network(cni_northsouth.client)))))
    cni_northsouth.check("the client's address")
    seen = cni_grid.probe(probe)[0]
    cni_trait(name, "allowed" if seen.verdict is Verdict.OPEN else "denied", f"the pod saw {source}")


@requirement("NP-SVC-4", feature="networkpolicy/north-south", source=HEALTH)
def test_health_checks_of_load_balancers_are_not_policed(cni_grid: Grid, cni_services: Services) -> None:
    """The healthCheckNodePort answers 200 although a policy isolates the backend."""
    service = cni_services.create(
        "checked",
        {"pod": "a"},
        [service_port(8000, 80)],
        namespace="x",
        endpoints=1,
        type="LoadBalancer",
        externalTrafficPolicy="Local",
    )
    number = service.obj["spec"].get("healthCheckNodePort")
    if not number:
        raise Inconclusive("the API server allocated no healthCheckNodePort")
    agents, home = cni_grid.node_agents(), cni_grid.pod("x/a").node
    (address, *_) = node_addresses(cni_grid, service, home)
    probes = [Probe(a.key, address, int(number), http={"path": "/healthz"}) for a in agents.values()]

    def wrong() -> str | None:
        for probe, seen in zip(probes, cni_grid.probe(*probes), strict=True):
            if seen.http_status != 200:
                return f"http://{address}:{number}/healthz from {probe.source}: {seen}, expected HTTP 200"
        return None

    cni_grid.eventually("the health check, without policy", wrong)
    cni_grid.apply(network_policy("default-deny", "x", {}, types=[INGRESS, EGRESS]))
    cni_grid.check("default deny", destinations=["x/a"], sources=["x/b", "z/c"], ports=(80,), protocols=TCP)
    cni_grid.eventually("the health check under default deny", wrong)


# -- names ------------------------------------------------------------------------------------------------


def _dns_policy(grid: Grid, protocols: Sequence[str]) -> Obj:
    """Return egress for x to the cluster's DNS servers, on the ports of their pods.

    Raises:
        Inconclusive: pods ask somebody else (a cache on their node), or the servers are no pods of the pod network.
    """
    kube, (namespace, name) = grid.run.kube, grid.facts.dns_service
    if not name:
        raise Inconclusive("this cluster's DNS Service was not recognised")
    spec = kube.get("v1", "Service", name, namespace)["spec"]
    asked = resolver_config(grid.agent("x/a")).nameservers
    if not set(asked) <= set(spec.get("clusterIPs") or [spec.get("clusterIP")]):
        raise Inconclusive(f"pods ask {', '.join(asked)}, which is not the DNS Service {namespace}/{name}")
    selector = spec.get("selector") or {}
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    servers = kube.list("v1", "Pod", namespace, labels=labels)
    if not servers or any(server["spec"].get("hostNetwork") for server in servers):
        raise Inconclusive("the DNS servers are no pods, or on the host network: node traffic")
    slices = kube.list(
        "discovery.k8s.io/v1", "EndpointSlice", namespace, labels=f"kubernetes.io/service-name={name}"
    )
    found = {(int(p["port"]), str(p["protocol"])) for one in slices for p in one.get("ports") or []}
    wanted = [port(number, protocol) for number, protocol in sorted(found) if protocol in protocols]
    dns = peer(pods=selector, namespaces={"kubernetes.io/metadata.name": namespace})
    # The marker is a pair of the grid that shows when the update has arrived.
    marker = rule([peer(pods={"pod": "b"})], [port(80 if "TCP" in protocols else 81)])
    rules = [rule([dns], wanted), marker] if wanted else [marker]
    return network_policy("dns", "x", {}, egress=rules, types=[EGRESS])


def _expect_names(grid: Grid, names: Names, title: str, *, udp: bool, tcp: bool) -> None:
    """Assert whether x/a gets answers over UDP and TCP, while y/a, which no policy selects, gets both."""
    name = f"kubernetes.default.svc.{names.domain}."

    def wrong() -> str | None:
        for source, answers in (("x/a", {False: udp, True: tcp}), ("y/a", {False: True, True: True})):
            for over_tcp, wanted in answers.items():
                answer = names.ask(source, name, tcp=over_tcp)
                if (answer.rcode == "NOERROR") != wanted:
                    way = "TCP" if over_tcp else "UDP"
                    verb = "expected" if wanted else "forbidden, yet observed"
                    return f"{source} asks for {name} over {way}: {verb} an answer, {answer}"
        return None

    try:
        grid.eventually(title, wrong, deadline=grid.patience())
    except ConformanceFailure as failure:
        if "yet observed" in str(failure):
            raise NotEnforced(str(failure)) from None
        raise


@requirement("NP-DNS-1", feature="networkpolicy/dns", source=DNS)
def test_egress_deny_denies_names_too(cni_grid: Grid, cni_names: Names) -> None:
    """Egress default deny cuts a pod off from DNS; a rule for the DNS servers brings names back."""
    allowed = _dns_policy(cni_grid, ("UDP", "TCP"))
    _expect_names(cni_grid, cni_names, "names, without policy", udp=True, tcp=True)
    cni_grid.apply(network_policy("dns", "x", {}, types=[EGRESS]))
    cni_grid.check("egress is denied", sources=["x/a", "x/c"], ports=(80,), protocols=TCP)
    _expect_names(cni_grid, cni_names, "names, under egress deny", udp=False, tcp=False)
    cni_grid.apply(allowed)
    cni_grid.check("egress to DNS and x/b", sources=["x/a", "x/c"], protocols=TCP)
    _expect_names(cni_grid, cni_names, "names, with a rule for them", udp=True, tcp=True)


@requirement("NP-DNS-2", feature="networkpolicy/dns", source="https://www.rfc-editor.org/rfc/rfc7766")
def test_names_over_tcp_need_their_own_port(cni_grid: Grid, cni_names: Names) -> None:
    """A rule for DNS over UDP leaves TCP closed, and one for both lets long answers come over TCP."""
    both, one = _dns_policy(cni_grid, ("UDP", "TCP")), _dns_policy(cni_grid, ("UDP",))
    _expect_names(cni_grid, cni_names, "names, without policy", udp=True, tcp=True)
    cni_grid.apply(one)
    cni_grid.check("egress to DNS over UDP, and to x/b", sources=["x/a", "x/c"], protocols=TCP)
    _expect_names(cni_grid, cni_names, "names over UDP only", udp=True, tcp=False)
    cni_grid.apply(both)
    cni_grid.check("egress to DNS over both, and to x/b", sources=["x/a", "x/c"], protocols=TCP)
    _expect_names(cni_grid, cni_names, "names over UDP and TCP", udp=True, tcp=True)
