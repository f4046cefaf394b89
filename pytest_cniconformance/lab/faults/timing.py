# SPDX-License-Identifier: Apache-2.0
"""Faults of policy in time: enforcement that is right in the end, but late, or not at every moment."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import POLICY_PROFILES, Fault

TIMING_FAULTS: tuple[Fault, ...] = (
    Fault(
        "startup-leak",
        "policy",
        "a new pod is not policed for the first two seconds of its life",
        "aws/aws-network-policy-agent#83, cloudnativelabs/kube-router#873",
        ("NP-DYN-6-EGRESS", "NP-DYN-6-INGRESS"),
        POLICY_PROFILES,
    ),
    Fault(
        "startup-lockout",
        "policy",
        "the allow rules of a new isolated pod take effect 9 s after it started",
        "projectcalico/calico#2471, aws/aws-network-policy-agent#298",
        ("NP-DYN-6-EGRESS", "NP-DYN-6-INGRESS"),
        POLICY_PROFILES,
    ),
    Fault(
        "slow-convergence",
        "policy",
        "changes of policies, labels and pods reach the policy engine 7 s late",
        "policy agents whose sync takes long: cloudnativelabs/kube-router#1039",
        ("NP-CONV-SUBJECT", "NP-CONV-PEER", "NP-CONV-NAMESPACE"),
        POLICY_PROFILES,
    ),
    Fault(
        "flap-on-update",
        "policy",
        "an updated policy is in force at once, then for 0.1 s as it was before, then again as it is",
        "agents that replay a stale cache",
        ("NP-CONV-UPDATE",),
        POLICY_PROFILES,
    ),
)
