# SPDX-License-Identifier: Apache-2.0
"""Faults of what the policy agent knows: policies, pods and namespaces that changed."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault, policy_fault

KNOWLEDGE_FAULTS: tuple[Fault, ...] = (
    policy_fault(
        "stale-after-delete",
        "a deleted policy stays in force",
        "Azure/AKS#2225",
        "NP-DYN-4",
        "NP-CONV-ISOLATE",
    ),
    policy_fault(
        "update-ignored",
        "a policy is enforced as it was first created, whatever it is changed to",
        "aws/aws-network-policy-agent#643: a changed podSelector is not taken up",
        "NP-DYN-3",
        "NP-DYN-3-EGRESS",
    ),
    policy_fault(
        "recreated-policy-stale",
        "a policy that is created again under its name has the rules of the first of that name",
        "caches keyed by name; a race of its kind: Azure/azure-container-networking#2978",
        "NP-DYN-4-AGAIN",
    ),
    policy_fault(
        "last-update-lost",
        "of updates in quick succession the last one is lost",
        "Azure/azure-container-networking#2963",
        "NP-DYN-12-CHURN",
    ),
    policy_fault(
        "old-subjects-stay",
        "pods that a policy once selected stay isolated when it selects others",
        "aws/aws-network-policy-agent#643, #645",
        "NP-DYN-3-SUBJECT",
    ),
    policy_fault(
        "types-only-grow",
        "a direction that is taken out of policyTypes stays isolated",
        "cloudnativelabs/kube-router#341",
        "NP-DYN-3-TYPES",
    ),
    policy_fault(
        "only-first-hundred",
        "of a namespace's policies only the first hundred are applied",
        "PolicyEndpoint chunks of the AWS network policy controller",
        "NP-DYN-12",
    ),
    policy_fault(
        "delete-takes-shared-peers",
        "a deleted policy takes the address sets with it that others still use",
        "Azure/azure-container-networking#555",
        "NP-DYN-4-SHARED",
    ),
    policy_fault(
        "pod-relabel-ignored",
        "pods keep the labels that they were created with",
        "cloudnativelabs/kube-router#1035, #1099; kubeovn/kube-ovn#1920",
        "NP-DYN-1",
        "NP-DYN-1-SUBJECT",
        "NP-SEL-7",
    ),
    policy_fault(
        "namespace-relabel-ignored",
        "namespaces keep the labels that they were created with",
        "kubeovn/kube-ovn#1920, openshift/ovn-kubernetes#389",
        "NP-DYN-2",
    ),
    policy_fault(
        "namespace-labels-by-name",
        "a namespace that is created again has the labels of the first of its name",
        "caches keyed by name",
        "NP-DYN-5",
    ),
    policy_fault(
        "namespace-name-label-unknown",
        "the label kubernetes.io/metadata.name of namespaces is not seen",
        "agents that filter out labels with the kubernetes.io prefix",
        "NP-SEL-6",
    ),
    policy_fault(
        "empty-value-is-absent",
        "a label with an empty value counts as missing",
        "parsers that take an empty string for no value",
        "NP-SEL-5",
    ),
    policy_fault(
        "late-pods-unknown",
        "pods that come after the last change of policies are no peers and no subjects",
        "address sets that miss new pods: cloudnativelabs/kube-router#2059",
        "NP-DYN-10",
        "NP-DYN-10-NAMESPACE",
    ),
    policy_fault(
        "finished-pods-remembered",
        "the address of a finished pod keeps its labels and policies for as long as its object is there",
        "kubernetes/kubernetes#92697, antrea-io/antrea#6507, cilium/cilium#10065",
        "NP-DYN-8",
        profiles=("calico",),
    ),
    policy_fault(
        "terminating-forgotten",
        "a pod that is being deleted is no peer and no subject any more",
        "agents that drop a pod at its deletionTimestamp: projectcalico/calico#4518",
        "NP-DYN-9",
    ),
)
