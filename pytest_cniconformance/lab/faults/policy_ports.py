# SPDX-License-Identifier: Apache-2.0
"""Faults of reading a NetworkPolicy: ports, their names, and address blocks."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault, policy_fault

PORT_FAULTS: tuple[Fault, ...] = (
    policy_fault(
        "ports-ignored",
        "the ports of a rule have no effect",
        "layer-3-only engines",
        "NP-PRT-1",
        "NP-ISO-2",
        "NP-PRT-1-EGRESS",
        "NP-SELF-1-PORTS",
    ),
    policy_fault(
        "no-ports-means-tcp",
        "a rule without ports allows TCP only",
        "policy agents that know TCP only",
        "NP-EMP-5",
    ),
    policy_fault(
        "only-first-port",
        "only the first entry of a rule's port list is applied",
        "noironetworks/aci-containers#1653",
        "NP-PRT-1",
        "NP-PRT-LIST",
        "NP-DNS-2",
    ),
    policy_fault(
        "port-protocol-ignored",
        "a port that is allowed for one protocol is open for all of them",
        "np-guard/netpol-analyzer: ruleConnsContain",
        "NP-PRT-1",
    ),
    policy_fault(
        "portless-entry-opens-all",
        "a protocol without a port allows every protocol",
        "np-guard/netpol-analyzer: ruleConnsContain",
        "NP-PRT-2",
    ),
    policy_fault(
        "portless-entry-dropped",
        "a protocol without a port allows nothing",
        "cilium/cilium#21184, ovn-org/ovn-kubernetes#1537",
        "NP-PRT-2",
    ),
    policy_fault(
        "named-port-opens-all",
        "a named port opens every port of its protocol",
        "antrea-io/antrea#241, ovn-org/ovn-kubernetes#2117",
        "NP-PRT-4",
        "NP-PRT-7",
    ),
    policy_fault(
        "named-port-dropped", "a named port matches nothing", "cloudnativelabs/kube-router#338", "NP-PRT-4"
    ),
    policy_fault(
        "endport-ignored",
        "a port range allows its first port only",
        "cilium/cilium#28684, Azure/AKS#2857",
        "NP-END-1",
        "NP-END-2",
        "NP-END-2-EGRESS",
    ),
    policy_fault(
        "endport-exclusive",
        "the last port of a range stays closed",
        "half-open ranges",
        "NP-END-1",
        "NP-END-2",
        "NP-END-2-SAME",
    ),
    policy_fault(
        "endport-one-too-many",
        "the port after the last of a range is open",
        "ranges given as first port and length",
        "NP-END-1",
        "NP-END-2",
    ),
    policy_fault(
        "range-start-excluded",
        "the first port of a range stays closed",
        "half-open ranges",
        "NP-END-1",
        "NP-END-2",
    ),
    policy_fault(
        "range-truncated",
        "of a port range only the first 1024 ports are open",
        "tables with a limit of entries per rule",
        "NP-END-2-FULL",
    ),
    policy_fault(
        "range-means-tcp",
        "a port range covers TCP, whatever its protocol",
        "policy agents that know TCP only",
        "NP-END-2-UDP",
    ),
    policy_fault(
        "only-first-range",
        "of several port ranges in a rule only the first is applied",
        "cilium/cilium#45811: overlapping ranges",
        "NP-END-2-OVERLAP",
    ),
    policy_fault(
        "named-port-any-protocol",
        "a port name matches whatever its protocol",
        "engines that compare names alone",
        "NP-PRT-6",
    ),
    policy_fault(
        "named-port-of-first-pod",
        "a port name stands for one number in all pods",
        "aws/amazon-network-policy-controller-k8s#52, cilium/cilium#24779",
        "NP-PRT-4",
        "NP-PRT-4-ABSENT",
    ),
    policy_fault(
        "named-port-per-identity",
        "an egress port name that pods with equal labels give different numbers matches none of them",
        "cilium/cilium#30003",
        "NP-PRT-5",
        profiles=("calico",),
    ),
    policy_fault(
        "judged-before-dnat",
        "policies judge the Service's address and port, not the backend's",
        "aws/amazon-network-policy-controller-k8s#210",
        "NP-PRT-3",
        "NP-PRT-3-EGRESS",
        "NP-SVC-2",
        "NP-SVC-2-SHARED",
    ),
    policy_fault(
        "ipblock-matches-nothing",
        "an ipBlock matches no address",
        "antrea-io/antrea#1764: sources rewritten before policy",
        "NP-IPB-1",
    ),
    policy_fault(
        "except-ignored",
        "the except list of an ipBlock has no effect",
        "kubeovn/kube-ovn#3193, aws/aws-network-policy-agent#72",
        "NP-IPB-1",
        "NP-IPB-8",
        "NP-SVC-3",
    ),
    policy_fault(
        "only-first-except",
        "of an except list only the first entry is cut out",
        "aws/aws-network-policy-agent#92",
        "NP-IPB-2-EXCEPT",
    ),
    policy_fault(
        "excepts-merged",
        "the exceptions of all blocks of a policy are cut out of each",
        "ovn-org/ovn-kubernetes#845",
        "NP-IPB-1",
    ),
    policy_fault(
        "except-as-deny",
        "what an except cuts out is denied, whatever other rules and policies say",
        "antrea-io/antrea#367, kubeovn/kube-ovn#3193",
        "NP-IPB-1",
        "NP-IPB-1-POLICIES",
        "NP-IPB-2-OVERLAP",
    ),
    policy_fault(
        "prefix-too-short", "an ipBlock is one bit too wide", "masks computed off by one", "NP-IPB-2"
    ),
    policy_fault(
        "slash-zero-matches-nothing",
        "an ipBlock of length 0 matches nothing",
        "longest-prefix tables without a default entry; cilium/cilium#47827",
        "NP-IPB-2-ALL",
    ),
    policy_fault(
        "block-ports-overwritten",
        "of two rules with the same ipBlock the later one's ports replace the earlier one's",
        "aws/aws-network-policy-agent#180",
        "NP-IPB-1-PORTS",
    ),
    policy_fault(
        "block-port-skips-source",
        "a rule with ipBlock and port opens the port to everyone",
        "weaveworks/weave#3653",
        "NP-IPB-2-PORT",
    ),
    policy_fault(
        "sidecar-ports-unknown",
        "the named ports of restartable init containers resolve to nothing",
        "kubernetes/kubernetes#125285, projectcalico/calico#8881",
        "NP-PRT-8",
        "NP-PRT-9",
    ),
)
