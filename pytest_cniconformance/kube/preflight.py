# SPDX-License-Identifier: Apache-2.0
"""What must be right before a run is worth starting: one line per finding, with how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal

from .errors import BadRequest, Forbidden, Invalid, KubeError, NotFound
from .facts import ClusterFacts, NodeFact, read_facts
from .leftovers import find_leftovers
from .objects import Obj
from .ownership import own

if TYPE_CHECKING:
    from .client import KubeClient

Level = Literal["error", "warn", "info"]
Network = IPv4Network | IPv6Network

_NAMED = 10
_SHOWN = 3
"""So many findings of one kind are spelt out: a cluster with thousands of nodes can have thousands of each."""

OLDEST, NEWEST = (1, 27), (1, 37)
"""Kubernetes minor releases that this package is made for; others are tried with a warning."""

PERMISSIONS: tuple[tuple[str, str, str], ...] = (
    ("create", "", "namespaces"),
    ("delete", "", "namespaces"),
    ("list", "", "namespaces"),
    ("patch", "", "namespaces"),
    ("list", "", "nodes"),
    ("create", "", "pods"),
    ("delete", "", "pods"),
    ("list", "", "pods"),
    ("watch", "", "pods"),
    ("create", "", "pods/exec"),
    ("get", "", "pods/exec"),
    ("get", "", "pods/log"),
    ("patch", "", "pods"),
    ("create", "", "configmaps"),
    ("patch", "", "configmaps"),
    ("create", "", "services"),
    ("get", "", "services"),
    ("patch", "", "services"),
    ("delete", "", "services"),
    ("list", "discovery.k8s.io", "endpointslices"),
    ("watch", "discovery.k8s.io", "endpointslices"),
    ("create", "networking.k8s.io", "networkpolicies"),
    ("patch", "networking.k8s.io", "networkpolicies"),
    ("delete", "networking.k8s.io", "networkpolicies"),
)
"""``(verb, API group, resource)`` that every run needs, cluster-wide because it makes its own namespaces."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``level`` says how bad it is if ``ok`` is false; ``remedy`` is empty where none is needed."""

    name: str
    ok: bool
    level: Level
    message: str
    remedy: str = ""

    @property
    def blocking(self) -> bool:
        """Whether a run cannot give results until this is mended."""
        return not self.ok and self.level == "error"

    def __str__(self) -> str:
        mark = "ok" if self.ok else self.level
        return f"{mark}: {self.name}: {self.message}" + (f". {self.remedy}" if self.remedy else "")


def preflight(
    kube: KubeClient, *, facts: ClusterFacts | None = None, pod: Obj | None = None, nodes_wanted: int = 2
) -> list[Finding]:
    """Check the cluster and return every finding, good ones included; changes nothing in the cluster.

    ``pod`` is a pod as the run will create it: it is shown to admission by a dry run. A check that fails in an
    unforeseen way becomes a finding; none raises :class:`KubeError`.
    """
    reached = _guard("API server", lambda: _reachable(kube))
    if any(finding.blocking for finding in reached):
        return reached
    if facts is None:
        try:
            facts = read_facts(kube)
        except KubeError as error:
            # Without the nodes nothing else can be judged; but who lacks one permission is told of all at once.
            granted = _guard("permissions", lambda: _permissions(kube))
            missing = [finding for finding in granted if finding.blocking]
            return [*reached, *(missing or [Finding("nodes", False, "error", str(error))])]
    known = facts
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("permissions", lambda: _permissions(kube)),
        ("nodes", lambda: _nodes(known, nodes_wanted)),
        ("address ranges", lambda: _ranges(known)),
        ("DNS", lambda: _dns(known)),
        ("admission", lambda: _admission(kube, pod)),
        ("leftovers", lambda: _leftovers(kube)),
    ]
    # Side by side: one after the other takes seconds on a distant cluster.
    with ThreadPoolExecutor(len(checks), thread_name_prefix="cniconformance preflight") as pool:
        found = list(pool.map(lambda check: _guard(*check), checks))
    findings = reached + [finding for part in found for finding in part]
    return findings + [Finding("facts", False, "info", f"not readable: {text}") for text in known.unknown]


def _guard(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except KubeError as error:
        found.append(Finding(name, False, "warn", f"could not be checked: {error}"))
    return found


def _reachable(kube: KubeClient) -> Iterator[Finding]:
    where = f'{kube.server} (context "{kube.context}")'
    try:
        version = kube.version()
    except Forbidden:
        yield Finding("API server", True, "error", f"{where} answers, its version is not shown to this login")
        return
    except NotFound:
        remedy = "check the server's address in the kubeconfig, its path included"
        yield Finding(
            "API server", False, "error", f"{where} answers, but is no Kubernetes API server", remedy
        )
        return
    except KubeError as error:
        yield Finding("API server", False, "error", str(error))
        return
    git = str(version.get("gitVersion", "?"))
    yield Finding("API server", True, "error", f"{where} answers, Kubernetes {git}")
    digits = [str(version.get(part, "")).rstrip("+") for part in ("major", "minor")]
    if not all(text.isdigit() for text in digits):
        return
    release = (int(digits[0]), int(digits[1]))
    if not OLDEST <= release <= NEWEST:
        yield Finding(
            "Kubernetes version",
            False,
            "warn",
            f"{git} is outside {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}",
            "Results are not vouched for there",
        )


def _permissions(kube: KubeClient) -> Iterator[Finding]:
    with ThreadPoolExecutor(8, thread_name_prefix="cniconformance can-i") as pool:
        answers = list(pool.map(lambda need: kube.can_i(*need), PERMISSIONS))
    missing = [need for need, allowed in zip(PERMISSIONS, answers, strict=True) if not allowed]
    if not missing:
        yield Finding("permissions", True, "error", f"all {len(PERMISSIONS)} that a run needs are granted")
    for verb, group, resource in missing:
        name = f"{resource}.{group}" if group else resource
        yield Finding(
            "permissions",
            False,
            "error",
            f'this login may not "{verb}" {name} cluster-wide',
            f"Grant it by a ClusterRole; check with `kubectl auth can-i {verb} {name} --all-namespaces`",
        )


def _nodes(facts: ClusterFacts, wanted: int) -> Iterator[Finding]:
    ready = facts.ready_nodes
    away = [node for node in facts.nodes if not (node.ready and node.schedulable)]
    if not ready:
        yield Finding(
            "nodes",
            False,
            "error",
            f"none of {len(facts.nodes)} nodes is Ready and takes pods",
            "See `kubectl get nodes`; remove a cordon or a NoSchedule taint",
        )
    elif len(ready) < wanted:
        yield Finding(
            "nodes",
            False,
            "warn",
            f"{len(ready)} node takes pods, cross-node checks need {wanted}",
            "Add a node, or remove a cordon or a NoSchedule taint",
        )
    else:
        yield Finding(
            "nodes", True, "error", f"{len(ready)} of {len(facts.nodes)} nodes are Ready and take pods"
        )
    if away:
        names = ", ".join(_why_away(node) for node in away[:_NAMED])
        more = f" and {len(away) - _NAMED} more" if len(away) > _NAMED else ""
        yield Finding("nodes", False, "info", f"left out: {names}{more}")
    kernels = {node.kernel for node in facts.nodes if node.kernel}
    if len(kernels) > 1:
        yield Finding("kernels", False, "info", f"nodes differ in kernel: {', '.join(sorted(kernels))}")


def _why_away(node: NodeFact) -> str:
    return f"{node.name} ({'tainted, cordoned or not Linux' if node.ready else 'not Ready'})"


def _ranges(facts: ClusterFacts) -> Iterator[Finding]:
    """Overlapping ranges make addresses ambiguous: traffic goes astray and looks like a CNI defect."""
    ranges = [(f"pods of {node.name}", cidr) for node in facts.nodes for cidr in node.pod_cidrs]
    ranges += [("services", cidr) for cidr in facts.service_cidrs]
    ranges += [
        (f"node {node.name}", ip) for node in facts.nodes for ip in node.internal_ips + node.external_ips
    ]
    services = (*facts.dns_service_ips, *facts.kubernetes_service_ips)
    if not facts.service_cidrs:
        ranges += [("a Service", ip) for ip in dict.fromkeys(services)]
    clashes = list(_clashes(ranges))
    shown = [f"{left} overlaps {right}" for left, right in clashes[:_SHOWN]]
    if len(clashes) > _SHOWN:
        shown.append(f"{len(clashes) - _SHOWN} more ranges overlap")
    for text in shown:
        remedy = "Choose ranges for pods, Services and nodes that are apart"
        yield Finding("address ranges", False, "warn", text, remedy)
    if not clashes:
        yield Finding(
            "address ranges", True, "warn", f"{len(ranges)} ranges of pods, Services and nodes are apart"
        )


def _clashes(ranges: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Give the pairs of ranges (owner, CIDR) of different owners that overlap, as texts."""
    networks = [(ip_network(cidr, strict=False), owner, cidr) for owner, cidr in ranges]
    # In this order a range follows those that it may lie in, which are kept open: a cluster has thousands.
    networks.sort(key=lambda entry: (entry[0].version, int(entry[0].network_address), entry[0].prefixlen))
    around: list[tuple[Network, str, str]] = []
    for network, owner, cidr in networks:
        around = [
            outer
            for outer in around
            if outer[0].version == network.version and network.network_address in outer[0]
        ]
        yield from ((f"{other} {outer}", f"{owner} {cidr}") for _, other, outer in around if other != owner)
        around.append((network, owner, cidr))


def _dns(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.dns_service_ips:
        yield Finding(
            "DNS", True, "warn", f"{', '.join(facts.dns_service_ips)} serves {facts.cluster_domain}"
        )
    elif any(text.startswith("DNS service:") for text in facts.unknown):
        yield Finding(
            "DNS",
            False,
            "warn",
            "whether there is a DNS Service could not be read",
            "Grant this login to list Services, or deselect DNS checks with -m 'not dns'",
        )
    else:
        yield Finding(
            "DNS",
            False,
            "warn",
            "no DNS Service with a cluster IP was found",
            "DNS checks will fail: install CoreDNS, or deselect them with -m 'not dns'",
        )


def _admission(kube: KubeClient, pod: Obj | None) -> Iterator[Finding]:
    """Show admission (Pod Security, webhooks, quota) what the run will create, by dry runs."""
    for level in ("restricted", "privileged"):
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit")}
        name = f"cniconformance-preflight-{level}"
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        refused = _refused(kube, own(namespace, "preflight", 60))
        if refused is None:
            continue
        yield Finding(
            "Pod Security",
            False,
            "error" if level == "restricted" else "warn",
            f'a namespace of Pod Security level "{level}" is refused: {refused}',
            "Exempt namespaces that carry the label cniconformance/run-id"
            if level == "restricted"
            else "Checks with host-network pods will be skipped or fail",
        )
    if pod is None:
        return
    sample = own(pod, "preflight", 60)
    sample["metadata"] |= {"name": "cniconformance-preflight", "namespace": "default"}
    refused = _refused(kube, sample)
    if refused is None:
        yield Finding("admission", True, "warn", "a probe pod would be admitted")
    else:
        yield Finding(
            "admission",
            False,
            "warn",
            f'in namespace "default" a probe pod is refused: {refused}',
            "Unless a policy of that namespace alone does it, exempt namespaces labelled cniconformance/run-id",
        )


def _refused(kube: KubeClient, obj: Obj) -> str | None:
    """Return why a dry run refuses ``obj``, None if it does not."""
    try:
        kube.create(obj, dry_run=True)
    except (BadRequest, Forbidden, Invalid, NotFound) as error:
        return error.message
    return None


def _leftovers(kube: KubeClient) -> Iterator[Finding]:
    expired = find_leftovers(kube, kinds=[("v1", "Namespace")])
    if expired:
        names = ", ".join(leftover.name for leftover in expired[:3])
        more = f" and {len(expired) - 3} more" if len(expired) > 3 else ""
        yield Finding(
            "leftovers",
            False,
            "info",
            f"earlier runs left {names}{more}",
            "Remove them with `cniconformance cleanup`",
        )


def blocking(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that must be mended before a run."""
    return [finding for finding in findings if finding.blocking]
