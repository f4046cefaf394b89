# SPDX-License-Identifier: Apache-2.0
"""Every pod reaches every pod, every Service and every node, with its own address and any payload."""

from __future__ import annotations

import collections
import ipaddress

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.answers import expect_answers, probes_to
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive
from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Probe, Protocol, Verdict
from pytest_cniconformance.probe.questions import connect_many, host_port, transfer

pytestmark = pytest.mark.connectivity

MODEL = "https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model"
SERVICES = "https://kubernetes.io/docs/concepts/services-networking/service/"
BOTH = (Protocol.TCP, Protocol.UDP)

BULK_BYTES = 8 * 1024 * 1024
PAYLOADS = (1, 512, 1400, 1472, 4000, 9000, 60000)
"""Bytes around the usual MTUs (1450 under VXLAN, 1500) and well above; UDP payloads then need fragments."""
PARALLEL = 300


@pytest.mark.smoke
@requirement("CT-PP-SAME", feature="connectivity/pod-to-pod", source=MODEL)
def test_pods_on_one_node_reach_each_other(cni_grid: Grid) -> None:
    """Pods on the same node reach each other over TCP and UDP."""
    cni_grid.expect_open(cni_grid.pairs("same-node", protocols=BOTH), "pods on the same node")


@pytest.mark.smoke
@requirement("CT-PP-CROSS", feature="connectivity/pod-to-pod", source=MODEL)
def test_pods_on_different_nodes_reach_each_other(cni_grid: Grid) -> None:
    """Pods on different nodes reach each other over TCP and UDP."""
    cni_grid.expect_open(cni_grid.pairs("cross-node", protocols=BOTH), "pods on different nodes")


@pytest.mark.smoke
@requirement("CT-SVC-IP", feature="connectivity/pod-to-service", source=SERVICES)
def test_pods_reach_a_service_by_its_address(cni_grid: Grid, cni_services: Services) -> None:
    """Pods on every node reach a Service by its cluster IP, over TCP and UDP."""
    ports = [port(8000, 80), port(8000, 80, "UDP")]
    service = cni_services.create("by-address", {"pod": "b"}, ports, namespace="y", endpoints=1)
    _all_open(cni_grid, service.cluster_ip, 8000, {"y/b"}, BOTH)


@pytest.mark.smoke
@requirement("CT-SVC-NAME", feature="connectivity/pod-to-service", source=SERVICES)
def test_pods_reach_a_service_by_its_name(cni_grid: Grid, cni_services: Services) -> None:
    """Pods on every node reach a Service by its DNS name."""
    service = cni_services.create("by-name", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    _all_open(cni_grid, service.fqdn, 8000, {"y/b"}, (Protocol.TCP,))


@pytest.mark.smoke
@requirement("CT-NODE-POD", feature="connectivity/node", source=MODEL)
def test_nodes_reach_their_own_pods(cni_grid: Grid) -> None:
    """Agents on a node reach all pods on that node."""
    agents = cni_grid.node_agents()
    cells = [
        Cell(agents[pod.node].key, key, 80, Protocol.TCP, family)
        for key, pod in cni_grid.pods.items()
        if not pod.host_network
        for family in pod.addresses
    ]
    cni_grid.expect_open(cells, "from the pod's own node")


@requirement("CT-POD-NODE", level=SHOULD, feature="connectivity/node", source=MODEL)
def test_pods_reach_every_node(cni_grid: Grid) -> None:
    """Pods reach a server on the host network of every node."""
    listening = {agent.ip: host_port(cni_grid.agent(agent.key)) for agent in cni_grid.node_agents().values()}
    probes = [
        Probe(pod.key, address, number)
        for pod in cni_grid.one_per_node()
        for address, number in listening.items()
    ]
    expect_answers(cni_grid, probes, None, "pods to nodes")


@pytest.mark.smoke
@requirement(
    "CT-API",
    feature="connectivity/api-server",
    source="https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/",
)
def test_pods_reach_the_api_server(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """Pods on every node open a connection to the kubernetes Service."""
    api = cni_kube.get("v1", "Service", "kubernetes", "default")["spec"]
    probes = [
        Probe(pod.key, api["clusterIP"], api["ports"][0]["port"], talk=False)
        for pod in cni_grid.one_per_node()
    ]
    expect_answers(cni_grid, probes, None, "pods to the API server")


@pytest.mark.smoke
@requirement(
    "CT-HAIR",
    feature="connectivity/hairpin",
    source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/#a-pod-fails-to-reach-itself-via-the-service-ip",
)
def test_a_pod_reaches_itself_through_its_service(cni_grid: Grid, cni_services: Services) -> None:
    """A pod that is the only backend of a Service reaches itself through it."""
    service = cni_services.create("hairpin", {"pod": "a"}, [port(8000, 80)], namespace="x", endpoints=1)
    probes = probes_to(["x/a"], [service.cluster_ip], 8000)
    expect_answers(cni_grid, probes, {"x/a"}, "a pod to itself through its Service")


@requirement("CT-BULK", feature="connectivity/payload", source=MODEL)
def test_large_transfers_arrive_intact(cni_grid: Grid) -> None:
    """Eight mebibytes arrive with the right hash in both directions, between every two nodes."""
    wrong = []
    for cell in cni_grid.node_pairs():
        target = cni_grid.pod(cell.destination).addresses[cell.family]
        for down in (False, True):
            result = transfer(cni_grid.agent(cell.source), target, 80, BULK_BYTES, down=down)
            if not result.intact:
                wrong.append(f"{cell.source} {'←' if down else '→'} {cell.destination}: {result.error}")
    if wrong:
        raise ConformanceFailure(f"{BULK_BYTES} bytes did not arrive intact: " + "; ".join(wrong))


@pytest.mark.smoke
@requirement("CT-MTU", feature="connectivity/payload", source="https://www.rfc-editor.org/rfc/rfc4821")
def test_payloads_of_every_size_pass(cni_grid: Grid) -> None:
    """Payloads below, at and above the path MTU pass over TCP and, fragmented, over UDP."""
    probes = [
        Probe(
            c.source,
            cni_grid.pod(c.destination).addresses[c.family],
            80,
            protocol,
            payload=size,
            label=f"{size} bytes",
        )
        for c in cni_grid.node_pairs()
        for protocol in BOTH
        for size in PAYLOADS
        if protocol is Protocol.TCP or size <= 9000
    ]
    expect_answers(cni_grid, probes, None, "payload sweep")


@requirement("CT-CHURN", feature="connectivity/parallel", source=SERVICES)
def test_many_parallel_connections_succeed(cni_grid: Grid, cni_services: Services) -> None:
    """Three hundred connections at once through a Service all succeed, and so do they directly."""
    service = cni_services.create("parallel", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    _all_open(cni_grid, service.cluster_ip, 8000, {"y/b"}, (Protocol.TCP,))
    for host, number in ((service.cluster_ip, 8000), (cni_grid.pod("y/b").ip, 80)):
        result = connect_many(cni_grid.agent("x/a"), host, number, PARALLEL)
        if result.ok != PARALLEL:
            raise ConformanceFailure(
                f"{PARALLEL - result.ok} of {PARALLEL} parallel connections from x/a to {host}:{number} "
                f"failed: {result.failed}"
            )


@pytest.mark.smoke
@requirement("CT-SRC", feature="connectivity/source-address", source=MODEL)
def test_the_source_address_is_preserved(cni_grid: Grid) -> None:
    """A pod sees the client pod's own address, not a translated one."""
    cells = cni_grid.node_pairs()
    probes = [Probe(c.source, cni_grid.pod(c.destination).addresses[c.family], 80) for c in cells]

    def wrong() -> str | None:
        for cell, seen in zip(cells, cni_grid.probe(*probes), strict=True):
            if seen.verdict is not Verdict.OPEN:
                return f"{cell}: {seen}"
            own = cni_grid.pod(cell.source).addresses[cell.family]
            if ipaddress.ip_address(seen.peer_ip) != ipaddress.ip_address(own):
                return f"{cell}: the server saw {seen.peer_ip}, the client's address is {own}"
        return None

    cni_grid.eventually("source addresses", wrong, deadline=cni_grid.run.settings.timeouts.drop_window_max)


@pytest.mark.smoke
@requirement("CT-IPU-UNIQUE", feature="connectivity/addresses", source=MODEL)
def test_no_two_pods_share_an_address(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """Every pod of the cluster has addresses of its own."""
    owners: dict[str, list[str]] = collections.defaultdict(list)
    for pod in cni_kube.list("v1", "Pod"):
        status, metadata = pod.get("status", {}), pod["metadata"]
        if (
            pod["spec"].get("hostNetwork")
            or status.get("phase") != "Running"
            or "deletionTimestamp" in metadata
        ):
            continue
        for entry in status.get("podIPs") or []:
            owners[entry["ip"]].append(f"{metadata['namespace']}/{metadata['name']}")
    shared = {address: names for address, names in owners.items() if len(names) > 1}
    if shared:
        raise ConformanceFailure(
            "pods share addresses: " + "; ".join(f"{a}: {', '.join(n)}" for a, n in shared.items())
        )


@requirement("CT-IPU-CIDR", level=SHOULD, feature="connectivity/addresses", source=MODEL)
def test_pod_addresses_lie_in_their_nodes_range(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """A pod's address lies in a range that the CNI's IPAM or Kubernetes gave to its node."""
    outside = []
    judged = 0
    for pod in cni_grid.pods.values():
        if pod.host_network:
            continue
        for address in pod.addresses.values():
            ranges = _ranges(cni_grid, cni_kube, pod.node, address)
            judged += bool(ranges)
            if ranges and not any(ipaddress.ip_address(address) in network for network in ranges):
                outside.append(f"{pod.key} on {pod.node}: {address} not in {', '.join(map(str, ranges))}")
    if not judged:
        raise Inconclusive("neither the nodes nor the CNI's IPAM objects say which ranges the nodes have")
    if outside:
        raise ConformanceFailure("; ".join(outside))


def _ranges(
    grid: Grid, kube: KubeClient, node: str, address: str
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return the ranges of a node in the address's family, from whoever does the IPAM.

    Calico lends addresses of other nodes' blocks, so that any affine block of the cluster counts.
    """
    cidrs = [cidr for fact in grid.facts.nodes if fact.name == node for cidr in fact.pod_cidrs]
    if kube.has("crd.projectcalico.org/v1", "BlockAffinity"):
        blocks = kube.list("crd.projectcalico.org/v1", "BlockAffinity")
        cidrs = [block["spec"]["cidr"] for block in blocks] or cidrs
    elif kube.has("cilium.io/v2", "CiliumNode"):
        for cilium_node in kube.list("cilium.io/v2", "CiliumNode"):
            if cilium_node["metadata"]["name"] == node:
                cidrs = (cilium_node["spec"].get("ipam") or {}).get("podCIDRs") or cidrs
    version = ipaddress.ip_address(address).version
    return [network for network in map(ipaddress.ip_network, cidrs) if network.version == version]


def _all_open(
    grid: Grid, host: str, number: int, responders: set[str], protocols: tuple[Protocol, ...]
) -> None:
    clients = [pod.key for pod in grid.one_per_node()]
    probes = probes_to(clients, [host], number, protocols)
    expect_answers(grid, probes, responders, f"every node to {host}:{number}")
