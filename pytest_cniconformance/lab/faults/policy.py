# SPDX-License-Identifier: Apache-2.0
"""Faults of policy enforcement, at layers 3/4 and 7."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import L7_PROFILES, POLICY_PROFILES, Fault


def _policy(name: str, summary: str, mimics: str, *caught_by: str) -> Fault:
    return Fault(name, "policy", summary, mimics, caught_by, POLICY_PROFILES)


def _l7(name: str, summary: str, mimics: str, *caught_by: str) -> Fault:
    return Fault(name, "l7", summary, mimics, caught_by, L7_PROFILES)


POLICY_FAULTS: tuple[Fault, ...] = (
    _policy(
        "policies-ignored",
        "NetworkPolicies are accepted by the API and enforced nowhere",
        "flannel without a policy engine; kubenet",
        "NP-EMP-4",
        "NP-DEF-3",
        "NP-AND-1",
    ),
    _policy(
        "egress-not-enforced",
        "only the ingress half of policies is enforced",
        "first-generation policy engines (kubernetes/kubernetes#51351)",
        "DNS-POLICY-DENY",
        "NP-DEF-3",
        "NP-ISO-3",
    ),
    _policy(
        "udp-not-enforced", "UDP passes whatever the policy", "policy agents that know TCP only", "NP-PRT-1"
    ),
    _policy(
        "except-ignored",
        "the except list of an ipBlock has no effect",
        "kubeovn/kube-ovn#3193, aws/aws-network-policy-agent#72",
        "NP-IPB-1",
    ),
    _policy(
        "endport-ignored",
        "a port range allows its first port only",
        "cilium/cilium#28684, Azure/AKS#2857",
        "NP-END-1",
    ),
    _policy(
        "and-as-or",
        "namespaceSelector and podSelector in one peer are ORed",
        "Calico before 3.2 (ahmetb/kubernetes-network-policy-recipes#27)",
        "NP-AND-1",
    ),
    _policy(
        "peer-not-namespaced",
        "a podSelector peer without namespaceSelector matches pods of every namespace",
        "naive policy converters",
        "NP-EMP-5",
    ),
    _policy(
        "ports-ignored", "the ports of a rule have no effect", "layer-3-only engines", "NP-PRT-1", "NP-ISO-2"
    ),
    _policy(
        "only-first-port",
        "only the first entry of a rule's port list is applied",
        "noironetworks/aci-containers#1653",
        "NP-PRT-1",
    ),
    _policy(
        "cross-rule",
        "peers and ports of all rules of a policy are combined with one another",
        "cloudnativelabs/kube-router#389",
        "NP-AND-2",
    ),
    _policy(
        "last-policy-wins",
        "of several policies that select a pod only the last one counts",
        "Azure/azure-container-networking#870",
        "NP-ISO-2",
    ),
    _policy(
        "stale-after-delete",
        "a deleted policy stays in force",
        "antrea-io/antrea#666, k3s-io/k3s#7244, projectcalico/calico#5100",
        "NP-DYN-4",
        "NP-CONV-ISOLATE",
        "NP-CONV-ALLOW",
    ),
    _policy(
        "update-ignored",
        "a policy is enforced as it was first created, whatever it is changed to",
        "aws/aws-network-policy-agent#643, cloudnativelabs/kube-router#341",
        "NP-DYN-3",
    ),
    _policy(
        "replies-dropped",
        "answers to allowed connections need a rule of their own",
        "stateless enforcement, lost conntrack state",
        "NP-REP-1",
    ),
    _policy(
        "node-blocked",
        "an isolated pod cannot be reached from its own node, kubelet probes included",
        "cilium/cilium#48444, aws/aws-network-policy-agent#56",
        "NP-NODE-1",
    ),
    _policy(
        "self-blocked",
        "an isolated pod cannot reach itself by its own address",
        "cilium/cilium#11593, antrea-io/antrea#5687",
        "NP-SELF-1",
    ),
    _policy(
        "same-node-not-enforced",
        "traffic between pods of one node is not policed",
        "bridge-nf-call-iptables=0 (kube-router, k3s)",
        "NP-EMP-4",
        "NP-DEF-3",
    ),
    _policy(
        "cross-node-not-enforced",
        "traffic between pods of different nodes is not policed",
        "enforcement at the wrong hook of the overlay",
        "NP-EMP-4",
        "NP-DEF-3",
    ),
    _policy(
        "allow-rules-dropped",
        "an isolating policy isolates, but its allow rules never match",
        "cilium/cilium#46253: selector values lost in the parser",
        "NP-EMP-5",
        "NP-AND-1",
    ),
    _l7("l7-method-ignored", "HTTP rules match any method", "proxies configured by path alone", "L7-METHOD"),
    _l7("l7-path-prefix", "the path of an HTTP rule matches as a prefix", "cilium/cilium#13280", "L7-PATH"),
    _l7(
        "l7-rules-rejected",
        "the proxy rejects the HTTP rules as a whole and denies every request",
        "cilium/cilium#41314: the regular expressions exceed RE2's program size",
        "L7-ALLOW",
    ),
    _l7(
        "l7-denied-by-reset",
        "a denied HTTP request is answered by a TCP reset instead of 403",
        "a proxy that fails closed: cilium/cilium#4181 family",
        "L7-403",
    ),
    _l7(
        "l7-only-first-request",
        "only the first request of a connection is checked",
        "connection-level L7 filtering",
        "L7-KEEPALIVE",
    ),
    _l7(
        "l7-not-enforced",
        "HTTP rules are accepted, but their ports are open to every request",
        "GHSA-hxv8-4j4r-cqgv",
        "L7-METHOD",
        "L7-PATH",
        "L7-403",
    ),
    _l7(
        "l7-peer-wildcard",
        "HTTP rules apply to every peer, not only to those named",
        "CVE-2023-30851",
        "L7-PEER",
    ),
)
