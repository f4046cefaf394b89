# SPDX-License-Identifier: Apache-2.0
"""Faults of enforcing policies that are read well: paths, state, who is concerned."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault, policy_fault

ENFORCEMENT_FAULTS: tuple[Fault, ...] = (
    policy_fault(
        "policies-ignored",
        "NetworkPolicies are accepted by the API and enforced nowhere",
        "flannel without a policy engine; kubenet",
        "NP-EMP-4",
        "NP-DEF-3",
        "NP-AND-1",
    ),
    policy_fault(
        "policies-unvalidated",
        "the API server stores NetworkPolicies that are not valid",
        "API servers without the validation of networking.k8s.io, and objects that went round it into etcd",
        "NP-VAL-1-CIDR",
        "NP-VAL-1-ENDPORT",
        "NP-VAL-1-EXCEPT",
        "NP-VAL-1-PORT",
        "NP-VAL-1-SELECTOR",
        "NP-VAL-1-TYPES",
        "NP-EMP-7",
        "NP-EMP-8",
    ),
    policy_fault(
        "reload-fails-open",
        "whenever policies change, a node is without any for 0.2 s",
        "agents that flush before they load: antrea-io/antrea#5777, at restarts",
        "NP-CONV-UPDATE",
    ),
    policy_fault(
        "subject-not-namespaced",
        "a policy selects pods of every namespace",
        "converters that lose the policy's namespace",
        "NP-EMP-4",
    ),
    policy_fault(
        "second-pod-not-isolated",
        "of a policy's pods on a node only one is isolated",
        "antrea-io/antrea#381, kubernetes/kubernetes#88090",
        "NP-EMP-4",
    ),
    policy_fault(
        "last-policy-wins",
        "of several policies that select a pod only the last one counts",
        "agents that keep one policy for each pod",
        "NP-ISO-2",
    ),
    policy_fault(
        "first-policy-wins",
        "of several policies that select a pod only the first one counts",
        "agents that keep one policy for each pod",
        "NP-ISO-2",
    ),
    policy_fault(
        "udp-not-enforced", "UDP passes whatever the policy", "policy agents that know TCP only", "NP-PRT-1"
    ),
    policy_fault(
        "dns-not-enforced",
        "port 53 passes whatever the policy",
        "agents that exempt DNS so that names still resolve",
        "NP-DNS-1",
    ),
    policy_fault(
        "ipv6-not-enforced",
        "IPv6 passes whatever the policy",
        "k3s-io/k3s#5386, rancher/rke2#8065",
        "NP-IPB-7",
        "NP-DS-1",
        families=("ipv4", "ipv6"),
    ),
    policy_fault(
        "same-node-not-enforced",
        "traffic between pods of one node is not policed",
        "bridge-nf-call-iptables=0 (kube-router, k3s)",
        "NP-EMP-4",
        "NP-DEF-3",
        "NP-PLACE-SAME",
    ),
    policy_fault(
        "cross-node-not-enforced",
        "traffic between pods of different nodes is not policed",
        "enforcement at the wrong hook of the overlay",
        "NP-EMP-4",
        "NP-DEF-3",
        "NP-PLACE-CROSS",
    ),
    policy_fault(
        "replies-dropped",
        "answers to allowed connections need a rule of their own",
        "stateless enforcement, lost conntrack state",
        "NP-REP-1",
    ),
    policy_fault(
        "udp-replies-dropped",
        "answers to allowed UDP requests need a rule of their own",
        "agents that track TCP only",
        "NP-REP-1",
        "NP-REP-3",
    ),
    policy_fault(
        "pair-cache",
        "once two pods have an open connection, each may open others to the other",
        "aws/aws-network-policy-agent#584",
        "NP-REP-2",
        "NP-EST-1-NEW",
    ),
    policy_fault(
        "denial-remembered",
        "what a pod was denied stays denied for 30 s, though its policy has changed",
        "agents that cache verdicts and do not drop them when policies change",
        "NP-AND-1",
        "NP-CONV-ALLOW",
        "NP-EST-2",
    ),
    policy_fault(
        "allow-lost-at-random",
        "three of four new connections that a policy allows are lost",
        "antrea-io/antrea#386, aws/aws-network-policy-agent#307, weaveworks/weave#3829",
        "NP-EMP-5",
    ),
    policy_fault(
        "node-blocked",
        "an isolated pod cannot be reached from its own node, kubelet probes included",
        "cilium/cilium#48444, aws/aws-network-policy-agent#56",
        "NP-NODE-1",
        "NP-HOST-2",
    ),
    policy_fault(
        "neighbours-blocked",
        "an isolated pod cannot do IPv6 neighbour discovery",
        "rules that treat ICMPv6 as traffic like any other",
        "NP-DS-2",
        families=("ipv4", "ipv6"),
    ),
    policy_fault(
        "self-blocked",
        "an isolated pod cannot reach itself by its own address",
        "near kin of Services' hairpins that policies block: cilium/cilium#11593, antrea-io/antrea#5687",
        "NP-SELF-1",
    ),
)
