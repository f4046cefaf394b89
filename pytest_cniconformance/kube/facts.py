# SPDX-License-Identifier: Apache-2.0
"""What the cluster is: nodes, address families, DNS, and the traces that a CNI leaves in the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from .errors import KubeError
from .objects import Obj, meta

if TYPE_CHECKING:
    from .client import KubeClient

T = TypeVar("T")

_NETWORK_HINTS = (
    "cni", "calico", "cilium", "flannel", "weave", "canal", "antrea", "ovn", "kube-router", "kindnet", "multus",
    "aws-node", "azure", "romana", "contiv", "tigera", "network", "kube-proxy", "metallb", "lab-",
)  # fmt: skip
_DNS_NAMES = ("kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default", "cluster-dns")


@dataclass(frozen=True, slots=True)
class NodeFact:
    """One node as the API describes it. ``schedulable``: runs Linux, is not cordoned, and has no taint."""

    name: str
    ready: bool
    schedulable: bool
    internal_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    kernel: str = ""
    os_image: str = ""
    runtime: str = ""
    arch: str = ""
    kubelet: str = ""
    external_ips: tuple[str, ...] = ()
    zone: str = ""
    """The label ``topology.kubernetes.io/zone``."""
    annotations: tuple[str, ...] = ()
    """Keys of annotations and labels that name a network component."""


@dataclass(frozen=True, slots=True)
class CniHints:
    """Traces of network components, for a CNI profile to recognise. Facts only, no conclusion."""

    daemonsets: tuple[str, ...] = ()
    """``namespace/name``."""
    images: tuple[str, ...] = ()
    """Images of those DaemonSets, tags included."""
    crds: tuple[str, ...] = ()
    """API groups that no plain Kubernetes serves."""
    annotations: tuple[str, ...] = ()
    """Keys on nodes."""
    config: dict[str, str] = field(default_factory=dict)
    """Network ConfigMaps: ``namespace/name`` → its keys, comma-separated."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The cluster's fingerprint. ``unknown`` says in one line each what could not be read, and why."""

    version: str
    nodes: tuple[NodeFact, ...]
    families: tuple[str, ...]
    """``ipv4``, ``ipv6`` or both, of pods; the primary family first."""
    cluster_domain: str
    dns_service_ips: tuple[str, ...]
    kubernetes_service_ips: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    cni: CniHints
    unknown: tuple[str, ...] = ()
    dns_service: tuple[str, str] = ("", "")
    """Namespace and name of the Service that pods get as their nameserver; empty texts if none was found."""

    @property
    def ready_nodes(self) -> tuple[NodeFact, ...]:
        """Nodes that our pods can run on."""
        return tuple(node for node in self.nodes if node.ready and node.schedulable)

    @property
    def sidecars(self) -> bool:
        """Whether init containers may be restartable: since 1.29 unless switched off (KEP-753)."""
        found = re.match(r"v?(\d+)\.(\d+)", self.version)
        return not found or (int(found[1]), int(found[2])) >= (1, 29)


def family(address: str) -> str:
    """Return ``ipv4`` or ``ipv6`` of an address or a CIDR."""
    return f"ipv{ip_network(address, strict=False).version}"


def read_facts(kube: KubeClient) -> ClusterFacts:
    """Read the facts, side by side. What may not be read is left empty and named in ``unknown``.

    Raises :class:`KubeError` only where the nodes cannot be listed: nothing works without them.
    """
    unknown: list[str] = []
    nothing: list[Obj] = []
    no_text: tuple[str, ...] = ()
    no_kinds: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(8, thread_name_prefix="cniconformance facts") as pool:

        def ask(what: str, read: Callable[[], T], default: T) -> Callable[[], T]:
            future = pool.submit(read)

            def answer() -> T:
                try:
                    return future.result()
                except KubeError as error:
                    unknown.append(f"{what}: {error.message}")
                    return default

            return answer

        node_list = pool.submit(lambda: kube.list("v1", "Node"))
        version = ask("version", lambda: str(kube.version().get("gitVersion", "")), "")
        dns_service = ask("DNS service", lambda: _dns_service(kube), None)
        api_service = ask(
            "kubernetes service", lambda: kube.get("v1", "Service", "kubernetes", "default"), None
        )
        service_cidrs = ask("service CIDRs", lambda: _service_cidrs(kube), no_text)
        sets = ask("DaemonSets", lambda: kube.list("apps/v1", "DaemonSet"), nothing)
        system_maps = ask(
            "ConfigMaps of kube-system", lambda: kube.list("v1", "ConfigMap", "kube-system"), nothing
        )
        kinds = ask("API groups", kube.api_resources, no_kinds)
        nodes = tuple(node_fact(node) for node in node_list.result())
        families = ask("address families", lambda: _families(kube, nodes), no_text)
        dns, maps = dns_service(), system_maps()
        elsewhere = meta(dns).get("namespace") if dns else None
        if elsewhere and elsewhere != "kube-system":
            corefiles = ask("cluster domain", lambda: kube.list("v1", "ConfigMap", elsewhere), nothing)()
        else:
            corefiles = maps
        return ClusterFacts(
            version=version(),
            nodes=nodes,
            families=families(),
            cluster_domain=_cluster_domain(corefiles),
            dns_service=(meta(dns)["namespace"], meta(dns)["name"]) if dns else ("", ""),
            dns_service_ips=_cluster_ips(dns),
            kubernetes_service_ips=_cluster_ips(api_service()),
            service_cidrs=service_cidrs(),
            cni=_hints(nodes, sets(), maps, kinds()),
            unknown=tuple(unknown),
        )


def node_fact(node: Obj) -> NodeFact:
    """Return what matters of a Node."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    info = status.get("nodeInfo") or {}
    addresses = status.get("addresses") or []
    cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    taints = [
        taint for taint in spec.get("taints") or [] if taint.get("effect") in ("NoSchedule", "NoExecute")
    ]
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or []}
    keys = [*(meta(node).get("annotations") or {}), *(meta(node).get("labels") or {})]
    return NodeFact(
        name=meta(node)["name"],
        ready=conditions.get("Ready") == "True",
        # Binding by name and tolerations for everything would put our pods on Windows too.
        schedulable=not spec.get("unschedulable")
        and not taints
        and info.get("operatingSystem", "linux") == "linux",
        internal_ips=tuple(a["address"] for a in addresses if a.get("type") == "InternalIP"),
        pod_cidrs=tuple(cidrs),
        kernel=info.get("kernelVersion", ""),
        os_image=info.get("osImage", ""),
        runtime=info.get("containerRuntimeVersion", ""),
        arch=info.get("architecture", ""),
        kubelet=info.get("kubeletVersion", ""),
        external_ips=tuple(a["address"] for a in addresses if a.get("type") == "ExternalIP"),
        zone=(meta(node).get("labels") or {}).get("topology.kubernetes.io/zone", ""),
        annotations=tuple(sorted(key for key in keys if _networky(key))),
    )


def _networky(text: str) -> bool:
    return any(hint in text.lower() for hint in _NETWORK_HINTS)


def _cluster_ips(service: Obj | None) -> tuple[str, ...]:
    spec = (service or {}).get("spec") or {}
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return tuple(address for address in addresses if address != "None")


def _dns_service(kube: KubeClient) -> Obj | None:
    """Return the Service that pods get as their nameserver: by the usual label, else by the usual names."""
    labelled = kube.list("v1", "Service", labels={"k8s-app": "kube-dns"})
    named = [] if labelled else kube.list("v1", "Service")
    found = [service for service in labelled or named if labelled or meta(service).get("name") in _DNS_NAMES]
    return next((service for service in found if _cluster_ips(service)), None)


def _cluster_domain(config_maps: Iterable[Obj]) -> str:
    """Return the domain in CoreDNS's ``kubernetes`` block; ``cluster.local`` if its configuration has none."""
    for config in config_maps:
        corefile = (config.get("data") or {}).get("Corefile")
        block = re.search(r"^\s*kubernetes\s+([^\s{]+)", corefile, re.MULTILINE) if corefile else None
        if block:
            return block[1].rstrip(".")
    return "cluster.local"


def _families(kube: KubeClient, nodes: Iterable[NodeFact]) -> tuple[str, ...]:
    """Return the families of pod addresses; seen on system pods rather than believed from the nodes' CIDRs."""
    for pod in kube.list("v1", "Pod", "kube-system", fields="status.phase=Running"):
        addresses = [entry.get("ip", "") for entry in (pod.get("status") or {}).get("podIPs") or []]
        if addresses and not (pod.get("spec") or {}).get("hostNetwork"):
            return tuple(family(address) for address in addresses)
    for node in nodes:
        if node.pod_cidrs:
            return tuple(family(cidr) for cidr in node.pod_cidrs)
    for node in nodes:
        if node.internal_ips:
            return tuple(dict.fromkeys(family(address) for address in node.internal_ips))
    return ()


def _service_cidrs(kube: KubeClient) -> tuple[str, ...]:
    """Return the ServiceCIDR objects' ranges (Kubernetes 1.33 and newer)."""
    if not kube.has("networking.k8s.io/v1", "ServiceCIDR"):
        return ()
    ranges = kube.list("networking.k8s.io/v1", "ServiceCIDR")
    return tuple(cidr for entry in ranges for cidr in (entry.get("spec") or {}).get("cidrs") or [])


def _hints(
    nodes: Iterable[NodeFact], sets: Iterable[Obj], maps: Iterable[Obj], kinds: Iterable[tuple[str, str]]
) -> CniHints:
    network = [daemonset for daemonset in sets if _networky(_full_name(daemonset))]
    groups = {version.rpartition("/")[0] for version, _ in kinds}
    return CniHints(
        daemonsets=tuple(sorted(_full_name(daemonset) for daemonset in network)),
        images=tuple(sorted({image for daemonset in network for image in _images(daemonset)})),
        crds=tuple(sorted(group for group in groups if group and not _plain_group(group))),
        annotations=tuple(sorted({key for node in nodes for key in node.annotations})),
        config={
            _full_name(entry): ",".join(sorted(entry.get("data") or {}))
            for entry in maps
            if _networky(meta(entry).get("name", ""))
        },
    )


def _full_name(obj: Obj) -> str:
    return f"{meta(obj).get('namespace', '')}/{meta(obj).get('name', '')}"


def _images(daemonset: Obj) -> list[str]:
    template = ((daemonset.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [container["image"] for container in template.get("containers") or [] if container.get("image")]


def _plain_group(group: str) -> bool:
    if group.startswith(("policy.networking.", "gateway.networking.")):
        return False  # served by CRDs, mostly a network component's
    return group.endswith(".k8s.io") or "." not in group
