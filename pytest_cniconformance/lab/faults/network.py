# SPDX-License-Identifier: Apache-2.0
"""Faults of reachability and latency."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault

_REACHABILITY = (
    Fault(
        "null-mac-gateway",
        "reachability",
        "every third pod keeps a permanent neighbour entry with MAC 00:00:00:00:00:00 for its gateway "
        "(169.254.1.1 under calico) once it is ready",
        "projectcalico/calico#8689, #4186, #3270",
        ("CT-PP-SAME", "CT-PP-CROSS"),
    ),
    Fault(
        "same-node-drop",
        "reachability",
        "packets between two pods of one node are dropped",
        "a container engine that sets the FORWARD policy to DROP on hosts with bridge netfilter",
        ("CT-PP-SAME", "NP-ISO-1"),
    ),
    Fault(
        "missing-node-route",
        "reachability",
        "the first node has no route to the pods of the last node",
        "projectcalico/calico#6208, #4869",
        ("CT-PP-CROSS", "CT-BULK"),
    ),
    Fault(
        "mtu-blackhole",
        "reachability",
        "pods have an MTU larger than the overlay's, and ICMP fragmentation-needed is filtered",
        "cozystack/cozystack#2147; flannel-io/flannel#1614, #2388; kubeovn/kube-ovn#4254",
        ("CT-MTU", "CT-BULK"),
    ),
    Fault(
        "big-packets-dropped",
        "reachability",
        "packets larger than 1000 bytes between pods are dropped, on any path",
        "segmentation offload defects that lose large packets",
        ("CT-BULK", "CT-MTU"),
    ),
    Fault(
        "bulk-corrupt",
        "reachability",
        "one byte of large TCP segments between pods is changed on the way, with a valid checksum",
        "payload corrupted on the way and let through as `checksum good`: kubernetes/kubernetes#18898",
        ("CT-BULK",),
    ),
    Fault(
        "parallel-connections-limited",
        "reachability",
        "a pod gets no more than 8 connections at a time to one other pod; further SYNs are dropped",
        "SNAT port collisions and full conntrack tables: kubernetes/kubernetes#56903",
        ("CT-CHURN",),
    ),
    Fault(
        "source-rewritten",
        "reachability",
        "traffic between pods leaves with a node address as its source",
        "kube-proxy --masquerade-all; a CNI that masquerades its own pod range",
        ("CT-SRC", "NP-SVC-1"),
    ),
    Fault(
        "hairpin-broken",
        "reachability",
        "a pod that is sent back to itself by its own Service gets no answer",
        "kubernetes/kubernetes#20475, #125611; with a policy: cilium/cilium#22107",
        ("CT-HAIR", "SVC-HAIRPIN"),
    ),
    Fault(
        "node-to-pod-blocked",
        "reachability",
        "processes in a node's network (other than root's) cannot open connections to pods, nor can any "
        "process to pods of other nodes",
        "host firewalls; under policies: aws/aws-network-policy-agent#56, kubernetes-sigs/kind#3875",
        ("CT-NODE-POD",),
    ),
    Fault(
        "pod-to-node-blocked",
        "reachability",
        "pods cannot open connections to node addresses",
        "Felix DefaultEndpointToHostAction=Drop; host firewalls",
        ("CT-POD-NODE",),
    ),
    Fault(
        "api-unreachable",
        "reachability",
        "pods outside kube-system cannot reach the Service of the API server",
        "egress rules that list the Service address of the API server, which never matches after DNAT",
        ("CT-API",),
    ),
    Fault(
        "pod-ip-duplicate",
        "reachability",
        "two pods of a namespace, on different nodes, get the same address",
        "aws/amazon-vpc-cni-k8s#711, cilium/cilium#10065",
        ("CT-IPU-UNIQUE",),
    ),
    Fault(
        "pod-ip-outside-cidr",
        "reachability",
        "pods' addresses lie outside the pod CIDRs of all nodes, where other nodes have no route to",
        "address pools that overlap or are stale",
        ("CT-IPU-CIDR",),
        ("calico", "cilium"),
    ),
)

_LATENCY = (
    Fault(
        "slow-overlay",
        "latency",
        "every packet to a pod of another node waits 20 ms",
        "overloaded overlay: softirq starvation, offloads switched off",
        ("LAT-PP-CROSS", "LAT-SVC-CROSS"),
    ),
    Fault(
        "slow-same-node",
        "latency",
        "every packet between pods of one node waits 20 ms",
        "CPU-throttled user-space datapaths",
        ("LAT-PP-SAME", "LAT-SVC-SAME"),
        ("calico", "cilium"),
    ),
    Fault(
        "slow-service",
        "latency",
        "every packet that a client sends through a Service address waits 20 ms; direct traffic does not",
        "user-space proxying of Services; kubernetes/kubernetes#88986 as its steady form",
        ("LAT-SVC-SAME", "LAT-SVC-CROSS"),
        ("calico", "cilium"),
    ),
)

NETWORK_FAULTS: tuple[Fault, ...] = (*_REACHABILITY, *_LATENCY)
