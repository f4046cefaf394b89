# SPDX-License-Identifier: Apache-2.0
"""What the cluster is, and what is wrong with it, in lines that a person can act on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_cniconformance.kube import ClusterFacts, Finding, KubeClient, preflight, read_facts
from pytest_cniconformance.kube.facts import node_fact
from pytest_cniconformance.kube.preflight import blocking
from pytest_cniconformance.kube.state import events_text, state

from .fakeapi import FakeApi

COREFILE = """.:53 {
    errors
    kubernetes corp.internal in-addr.arpa ip6.arpa {
       pods insecure
    }
}
"""


def node(number: int, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"node-{number}",
            "annotations": {"projectcalico.org/IPv4Address": "x", "unrelated": "y"},
        },
        "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:{number}::/64"], **spec},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"172.18.0.{number}"},
                {"type": "Hostname", "address": f"node-{number}"},
            ],
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "True"},
            ],
            "nodeInfo": {
                "kernelVersion": "6.8.0",
                "osImage": "Debian",
                "containerRuntimeVersion": "containerd://2.0",
                "architecture": "amd64",
                "kubeletVersion": "v1.33.1",
            },
        },
    }


@pytest.fixture
def cluster(api: FakeApi) -> FakeApi:
    for number in (1, 2):
        api.put(f"/api/v1/nodes/node-{number}", node(number))
    dns = {"metadata": {"labels": {"k8s-app": "kube-dns"}}, "spec": {"clusterIPs": ["10.96.0.10", "fd01::a"]}}
    api.put("/api/v1/namespaces/kube-system/services/coredns-chart", dns)
    api.put("/api/v1/namespaces/default/services/kubernetes", {"spec": {"clusterIP": "10.96.0.1"}})
    api.put("/api/v1/namespaces/kube-system/configmaps/coredns", {"data": {"Corefile": COREFILE}})
    api.put("/api/v1/namespaces/kube-system/configmaps/calico-config", {"data": {"veth_mtu": "0"}})
    containers = {"spec": {"template": {"spec": {"containers": [{"image": "calico/node:v3.31.0"}]}}}}
    api.put("/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node", containers)
    api.put("/apis/apps/v1/namespaces/logging/daemonsets/fluentd", containers)
    pod = {"spec": {}, "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00:1::2"}]}}
    api.put("/api/v1/namespaces/kube-system/pods/coredns-1", pod)
    api.groups["crd.projectcalico.org/v1"] = [{"name": "ippools", "kind": "IPPool", "namespaced": False}]
    api.groups["policy.networking.k8s.io/v1alpha1"] = []
    api.groups["apps/v1"] = [{"name": "daemonsets", "kind": "DaemonSet", "namespaced": True}]
    return api


def find(findings: list[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.name == name]


def test_the_fingerprint_of_a_cluster(cluster: FakeApi, kube: KubeClient) -> None:
    facts = read_facts(kube)
    assert facts.version == "v1.33.1"
    first = facts.nodes[0]
    assert (first.name, first.ready, first.schedulable) == ("node-1", True, True)
    assert first.internal_ips == ("172.18.0.1",)
    assert first.pod_cidrs == ("10.244.1.0/24", "fd00:1::/64")
    assert (first.kernel, first.os_image, first.runtime, first.arch) == (
        "6.8.0",
        "Debian",
        "containerd://2.0",
        "amd64",
    )
    assert first.annotations == ("projectcalico.org/IPv4Address",)
    assert facts.families == ("ipv4", "ipv6")
    assert facts.cluster_domain == "corp.internal"
    assert facts.dns_service_ips == ("10.96.0.10", "fd01::a")
    assert facts.kubernetes_service_ips == ("10.96.0.1",)
    assert facts.cni.daemonsets == ("kube-system/calico-node",)
    assert facts.cni.images == ("calico/node:v3.31.0",)
    assert facts.cni.crds == ("crd.projectcalico.org",)
    assert facts.cni.config == {"kube-system/calico-config": "veth_mtu"}
    assert facts.unknown == ()


def test_facts_that_may_not_be_read_are_named(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.on(
        "GET", ".*/configmaps", lambda h, r: h.fail(403, "Forbidden", "configmaps is forbidden"), times=9
    )
    facts = read_facts(kube)
    assert facts.cluster_domain == "cluster.local"
    assert facts.unknown == ("ConfigMaps of kube-system: configmaps is forbidden",)


def test_nodes_that_take_no_pods_are_told_apart(cluster: FakeApi, kube: KubeClient) -> None:
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    cluster.put("/api/v1/nodes/node-3", node(3, taints=[taint]))
    cluster.put("/api/v1/nodes/node-4", node(4, unschedulable=True))
    unready = node(5)
    unready["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    cluster.put("/api/v1/nodes/node-5", unready)
    facts = read_facts(kube)
    assert [fact.name for fact in facts.ready_nodes] == ["node-1", "node-2"]
    findings = preflight(kube, facts=facts)
    left_out = find(findings, "nodes")[1]
    assert left_out.message == (
        "left out: node-3 (tainted, cordoned or not Linux), node-4 (tainted, cordoned or not Linux), "
        "node-5 (not Ready)"
    )


def test_a_good_cluster_has_nothing_to_mend(cluster: FakeApi, kube: KubeClient) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": []}}
    before = dict(cluster.objects)
    findings = preflight(kube, pod=pod)
    assert [str(finding) for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} == {
        "API server", "permissions", "nodes", "address ranges", "DNS", "admission",
    }  # fmt: skip
    assert cluster.objects == before, "preflight changes nothing"
    assert all("\n" not in str(finding) for finding in findings)


def test_a_missing_permission_blocks_and_names_itself(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.denied |= {("create", "pods/exec"), ("patch", "networkpolicies")}
    found = blocking(preflight(kube))
    assert [finding.message for finding in found] == [
        'this login may not "create" pods/exec cluster-wide',
        'this login may not "patch" networkpolicies.networking.k8s.io cluster-wide',
    ]
    assert "kubectl auth can-i create pods/exec --all-namespaces" in found[0].remedy


def test_who_may_not_list_nodes_is_told_of_all_that_is_missing(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.on("GET", ".*/nodes", lambda h, r: h.fail(403, "Forbidden", "nodes is forbidden"), times=9)
    assert [finding.name for finding in blocking(preflight(kube))] == ["nodes"]
    cluster.denied |= {("list", "nodes"), ("create", "pods/exec")}
    assert [finding.message for finding in blocking(preflight(kube))] == [
        'this login may not "list" nodes cluster-wide',
        'this login may not "create" pods/exec cluster-wide',
    ]


def test_a_dns_service_that_may_not_be_read_is_not_called_missing(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.on("GET", ".*/services", lambda h, r: h.fail(403, "Forbidden", "services is forbidden"), times=9)
    assert find(preflight(kube), "DNS")[0].message == "whether there is a DNS Service could not be read"


def test_too_few_nodes_are_said(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.remove("/api/v1/nodes/node-2")
    one = find(preflight(kube), "nodes")[0]
    assert (one.ok, one.level) == (False, "warn")
    cluster.put("/api/v1/nodes/node-1", node(1, unschedulable=True))
    none = find(preflight(kube), "nodes")[0]
    assert none.blocking
    assert none.message == "none of 1 nodes is Ready and takes pods"


def test_overlapping_ranges_are_found(cluster: FakeApi, kube: KubeClient) -> None:
    facts = read_facts(kube)
    clash = replace(facts.nodes[1], pod_cidrs=("10.244.1.128/25",), internal_ips=("10.96.0.10",))
    findings = preflight(kube, facts=replace(facts, nodes=(facts.nodes[0], clash)))
    messages = [finding.message for finding in find(findings, "address ranges")]
    assert "pods of node-1 10.244.1.0/24 overlaps pods of node-2 10.244.1.128/25" in messages
    assert "node node-2 10.96.0.10 overlaps a Service 10.96.0.10" in messages


def test_ranges_of_a_large_cluster_are_compared_in_no_time(cluster: FakeApi, kube: KubeClient) -> None:
    facts = read_facts(kube)
    nodes = tuple(
        replace(
            facts.nodes[0],
            name=f"n{number}",
            pod_cidrs=(f"10.{number // 256}.{number % 256}.0/24",),
            internal_ips=(f"10.{number // 256}.{number % 256}.7",),
        )
        for number in range(5000)
    )
    findings = find(preflight(kube, facts=replace(facts, nodes=nodes)), "address ranges")
    assert len(findings) == 4
    assert findings[-1].message.endswith("more ranges overlap")


def test_nodes_with_another_system_take_no_pods() -> None:
    windows = node(1)
    windows["status"]["nodeInfo"]["operatingSystem"] = "windows"
    assert not node_fact(windows).schedulable
    assert node_fact(node(1)).schedulable


def test_admission_that_refuses_our_pods_is_found(cluster: FakeApi, kube: KubeClient) -> None:
    def refuse(handler: Any, request: Any) -> None:
        assert request.one("dryRun") == "All"
        handler.fail(
            403, "Forbidden", 'admission webhook "images.example" denied the request: only our registry'
        )

    cluster.on("POST", ".*/pods", refuse)
    cluster.on("POST", "/api/v1/namespaces", refuse, times=2)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": []}}
    findings = preflight(kube, pod=pod)
    assert "only our registry" in find(findings, "admission")[0].message
    security = find(findings, "Pod Security")
    assert [(finding.level, finding.ok) for finding in security] == [("error", False), ("warn", False)]
    assert "cniconformance/run-id" in security[0].remedy


def test_a_dead_api_server_is_the_only_finding(cluster: FakeApi, kube: KubeClient) -> None:
    kube._version = None
    kube._transport.timeouts = kube.timeouts.scaled(0.05)
    cluster.on("GET", ".*", lambda h, r: h.cut(), times=999)
    findings = preflight(kube)
    assert [finding.name for finding in findings] == ["API server"]
    assert findings[0].blocking
    assert "--cni-cluster=kind|lab" in findings[0].message


def test_what_is_no_api_server_is_called_that(cluster: FakeApi, kube: KubeClient) -> None:
    kube._version = None
    cluster.on("GET", "/version", lambda h, r: h.fail(404, "", "<h1>Not found</h1>"), times=9)
    [found] = find(preflight(kube), "API server")
    assert found.blocking
    assert found.message.endswith("answers, but is no Kubernetes API server")
    assert "address" in found.remedy


def test_old_and_new_releases_are_warned_about(cluster: FakeApi, kube: KubeClient) -> None:
    kube._version = {"major": "1", "minor": "24+", "gitVersion": "v1.24.9-gke"}
    assert find(preflight(kube), "Kubernetes version")[0].message == "v1.24.9-gke is outside 1.27 to 1.37"


def test_leftovers_of_earlier_runs_are_pointed_out(cluster: FakeApi, kube: KubeClient) -> None:
    from pytest_cniconformance.kube import own

    for number in range(5):
        cluster.put(f"/api/v1/namespaces/cni-{number}", own({"metadata": {}}, "r", -1))
    assert find(preflight(kube), "leftovers")[0].message == "earlier runs left cni-0, cni-1, cni-2 and 2 more"


def test_a_facts_value_needs_no_cluster() -> None:
    from pytest_cniconformance.kube import CniHints

    facts = ClusterFacts("v1", (), (), "cluster.local", (), (), (), CniHints())
    assert facts.ready_nodes == ()


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (None, "does not exist"),
        ({"kind": "ConfigMap"}, "exists"),
        (
            {"kind": "Pod", "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}},
            "phase Pending; PodScheduled=False (Unschedulable: 0/3 nodes)",
        ),
        (
            {"kind": "Pod", "status": {"phase": "Running", "containerStatuses": [
                {"name": "a", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}},
            "phase Running; container a waiting: CrashLoopBackOff; container a before that ended with exit code 1 (Error)",
        ),
        (
            {"kind": "Service", "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}},
            "no load balancer address",
        ),
        (
            {"kind": "Namespace", "metadata": {"deletionTimestamp": "x", "finalizers": ["a/b"]},
             "status": {"phase": "Terminating"}},
            "being deleted (finalizers ['a/b']); phase Terminating",
        ),
    ],
)  # fmt: skip
def test_a_state_is_one_line(obj: dict[str, Any] | None, text: str) -> None:
    assert state(obj) == text


def test_warnings_are_shown_before_other_events() -> None:
    events = [
        {
            "type": "Normal",
            "reason": f"Pulled{number}",
            "message": "m",
            "lastTimestamp": f"2026-01-01T00:00:0{number}Z",
        }
        for number in range(5)
    ]
    events.insert(
        0, {"type": "Warning", "reason": "Failed", "message": "m", "eventTime": "2026-01-01T00:00:00Z"}
    )
    assert events_text(events) == "Failed: m; Pulled3: m; Pulled4: m"
