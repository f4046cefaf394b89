# SPDX-License-Identifier: Apache-2.0
"""Faults of LoadBalancer Services: addresses, announcements, the way in."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault


def _lb(name: str, summary: str, mimics: str, *caught_by: str) -> Fault:
    return Fault(name, "loadbalancer", summary, mimics, caught_by)


_ADDRESSES = (
    _lb(
        "lb-no-address",
        "Services of type LoadBalancer never get an address",
        "metallb/metallb#1526, #1586",
        "LB-ASSIGNED",
    ),
    _lb(
        "lb-duplicate-address",
        "every Service that asks for no certain address gets the first one of its pool",
        "metallb/metallb#2479, #725: controllers that lose their state or do not share it",
        "LB-UNIQUE",
    ),
    _lb(
        "lb-static-ignored",
        "an address that a Service asks for counts for nothing",
        "implementations without spec.loadBalancerIP (deprecated since Kubernetes 1.24)",
        "LB-STATIC",
        "LB-STATIC-ANNOTATION",
        "LB-SHARED",
    ),
    _lb(
        "lb-old-annotations-ignored",
        "annotations of the domain metallb.universe.tf count for nothing",
        "manifests that outlive the annotation domain of their controller (MetalLB 0.14.9)",
        "LB-STATIC-OLD",
        "LB-POOL-OLD",
    ),
    _lb(
        "lb-class-ignored",
        "Services of every loadBalancerClass are served",
        "two controllers that fight over one Service: KEP-1959",
        "LB-CLASS",
    ),
    _lb(
        "lb-address-moves",
        "a Service gets another address when its ports change",
        "kubernetes/kubernetes#13630, #11175; F5Networks/k8s-bigip-ctlr#3650",
        "LB-STABLE",
    ),
    _lb(
        "lb-status-kept",
        "a Service that becomes a ClusterIP Service keeps its load-balancer address",
        "controllers that do not clean up after a change of type: kubernetes/kubernetes#23583, #35934",
        "LB-RETYPE",
    ),
    _lb(
        "lb-never-released",
        "the addresses of deleted Services are never free again",
        "address leaks: metallb/metallb#399, deckhouse/deckhouse#13444",
        "LB-RELEASE",
        "LB-EXHAUSTED",
    ),
)

_POOLS = (
    _lb(
        "lb-wrong-pool",
        "load-balancer addresses come from outside the configured pool",
        "metallb/metallb#2076, #1929: addresses of pools that were deleted",
        "LB-POOL",
    ),
    _lb(
        "lb-unknown-pool-ignored",
        "a Service that names a pool which does not exist is served from another one",
        "typing errors in pool names that nobody notices",
        "LB-POOL-UNKNOWN",
    ),
    _lb(
        "lb-autoassign-ignored",
        "Services that name no pool are served from pools with autoAssign: false",
        "controllers without the flag that metallb/metallb#4 asked for",
        "LB-POOL-AUTO",
    ),
    _lb(
        "lb-pending-silent",
        "a Service that cannot be served stays pending without an event",
        "`<pending>` without a reason, the most frequent question about load balancers",
        "LB-EXHAUSTED",
        "LB-POOL-UNKNOWN",
        "LB-SHARED-CONFLICT",
    ),
    _lb(
        "lb-sharing-refused",
        "two Services never share an address, whatever their keys",
        "implementations without address sharing",
        "LB-SHARED",
    ),
    _lb(
        "lb-shared-conflict",
        "Services with the same sharing key get one address although their ports collide",
        "silently shadowed ports: https://metallb.io/usage/#ip-address-sharing",
        "LB-SHARED-CONFLICT",
    ),
    _lb(
        "lb-sharing-key-ignored",
        "Services share an address without a common key",
        "metallb/metallb#1774",
        "LB-SHARED-KEY",
    ),
)

_TRAFFIC = (
    _lb(
        "lb-not-announced",
        "no node answers ARP for load-balancer addresses",
        "metallb/metallb#1154, #438, #560",
        "LB-REACHABLE",
    ),
    _lb(
        "lb-announced-by-two",
        "two nodes answer ARP for every load-balancer address",
        "metallb/metallb#740, #589: speakers that do not see one another",
        "LB-ONE-OWNER",
    ),
    _lb(
        "lb-answers-nobody",
        "the node of a load-balancer address announces it once, and answers no ARP request for it",
        "MetalLB 0.15.2 whose L2Advertisement is deleted: clients go by what they remember, new ones find nobody",
        "LB-ONE-OWNER",
    ),
    _lb(
        "lb-announcement-kept",
        "nodes keep answering for the addresses of deleted Services",
        "metallb/metallb#1640: answers go on after the Service has become unusable",
        "LB-WITHDRAW",
    ),
    _lb(
        "lb-inside-broken",
        "pods do not reach load-balancer addresses, clients outside do",
        "implementations that route in-cluster traffic out and back: KEP-1860",
        "LB-INSIDE",
    ),
    _lb(
        "lb-source-ranges-ignored",
        "loadBalancerSourceRanges have no effect",
        "platforms that ignore the field, as the API allows, without saying so",
        "LB-RANGES",
    ),
    _lb(
        "lb-needs-node-port",
        "load-balancer addresses of Services without node ports are not answered",
        "load balancers that forward to node ports: KEP-1864",
        "LB-NO-NODEPORTS",
    ),
    _lb(
        "lb-tcp-only",
        "load-balancer addresses answer TCP only",
        "kubernetes/kubernetes#23880",
        "LB-MIXED",
    ),
    _lb(
        "local-source-snat",
        "externalTrafficPolicy Local keeps traffic on the node but rewrites the client's address",
        "cilium/cilium#9284, kubernetes/kubernetes#91437",
        "LB-ETP-LOCAL",
        "SVC-ETP-LOCAL-SOURCE",
    ),
    _lb(
        "lb-local-ignored",
        "externalTrafficPolicy Local is treated like Cluster: forwarded to other nodes, source rewritten",
        "kubernetes/kubernetes#97073",
        "LB-ETP-LOCAL",
        "SVC-ETP-LOCAL-SOURCE",
        "SVC-ETP-LOCAL-NODE",
    ),
    _lb(
        "lb-local-election",
        "under externalTrafficPolicy Local nodes without a backend announce the address too",
        "cilium/cilium#27800, metallb/metallb#1777",
        "LB-LOCAL-NODES",
    ),
    _lb(
        "lb-failover-never",
        "the node that announced an address first does so for ever",
        "metallb/metallb#1147",
        "LB-FAILOVER",
        "LB-LOCAL-NODES",
    ),
)

LOADBALANCER_FAULTS: tuple[Fault, ...] = (*_ADDRESSES, *_POOLS, *_TRAFFIC)
