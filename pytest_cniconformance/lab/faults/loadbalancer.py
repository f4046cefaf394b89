# SPDX-License-Identifier: Apache-2.0
"""Faults of LoadBalancer Services: addresses, announcements, the way in."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault

LOADBALANCER_FAULTS: tuple[Fault, ...] = (
    Fault(
        "lb-not-announced",
        "loadbalancer",
        "no node answers ARP for load-balancer addresses",
        "metallb/metallb#1154, #1561, #2353",
        ("LB-REACHABLE",),
    ),
    Fault(
        "local-source-snat",
        "loadbalancer",
        "externalTrafficPolicy Local keeps traffic on the node but rewrites the client's address",
        "cilium/cilium#9284, metallb/metallb#263",
        ("LB-ETP-LOCAL", "SVC-ETP-LOCAL-SOURCE"),
    ),
    Fault(
        "lb-local-ignored",
        "loadbalancer",
        "externalTrafficPolicy Local is treated like Cluster: forwarded to other nodes, source rewritten",
        "kubernetes/kubernetes#97073",
        ("LB-ETP-LOCAL", "SVC-ETP-LOCAL-SOURCE", "SVC-ETP-LOCAL-NODE"),
    ),
    Fault(
        "lb-no-address",
        "loadbalancer",
        "Services of type LoadBalancer never get an address",
        "metallb/metallb#1765, #646",
        ("LB-ASSIGNED",),
    ),
    Fault(
        "lb-wrong-pool",
        "loadbalancer",
        "load-balancer addresses come from outside the configured pool",
        "metallb/metallb#1640",
        ("LB-POOL",),
    ),
)
