# SPDX-License-Identifier: Apache-2.0
"""The requirements that the sample records are about."""

from __future__ import annotations

from pytest_cniconformance.model.requirement import Level, Requirement

_DOCS = "https://kubernetes.io/docs/concepts/services-networking"
_MODEL = "https://kubernetes.io/docs/concepts/cluster-administration/networking/"
CATALOGUE = {
    "connectivity": (
        _MODEL,
        [
            ("CON-POD-1", "pods", "Pod reaches pod on the same node"),
            ("CON-POD-2", "pods", "Pod reaches pod on another node"),
            ("CON-POD-3", "pods", "Pod to pod traffic keeps its source IP"),
            ("CON-POD-4", "pods", "No two pods share an IP"),
            ("CON-POD-5", "pods", "Pod IPs lie inside the CIDR of their node"),
            ("CON-POD-6", "pods", "Pod reaches itself through its own Service"),
            ("CON-NODE-1", "nodes", "Node reaches pods on every node"),
            ("CON-NODE-2", "nodes", "Pod reaches every node"),
            ("CON-API-1", "api", "Pod reaches the API server"),
            ("CON-MTU-1", "mtu", "Large payloads cross nodes unharmed"),
            ("CON-MTU-2", "mtu", "Path MTU is discovered, not black-holed"),
            ("CON-LOAD-1", "load", "200 parallel connections between two pods"),
        ],
    ),
    "networkpolicy": (
        f"{_DOCS}/network-policies/",
        [
            ("NP-DEF-1", "isolation", "Without a policy every pod accepts all traffic"),
            ("NP-DEF-2", "isolation", "An empty ingress policy isolates the pods it selects"),
            ("NP-DEF-3", "isolation", "Default deny in both directions"),
            ("NP-PEER-1", "peers", "A podSelector peer admits its own namespace only"),
            ("NP-PEER-2", "peers", "A namespaceSelector peer admits every pod of the namespace"),
            ("NP-AND-1", "peers", "Namespace and pod selector in one peer are ANDed"),
            ("NP-OR-1", "peers", "Two peers of one rule are ORed"),
            ("NP-PORT-1", "ports", "A numeric port admits that port only"),
            ("NP-PORT-2", "ports", "A named port resolves on the destination pod"),
            ("NP-END-1", "endport", "endPort admits the whole range"),
            ("NP-CIDR-1", "ipblock", "ipBlock with except excludes the exception"),
            ("NP-UPD-1", "lifecycle", "An updated policy replaces the former rules"),
            ("NP-DEL-1", "lifecycle", "A deleted policy leaves nothing behind"),
            ("NP-REPLY-1", "replies", "Replies of admitted connections are admitted"),
            ("NP-NODE-1", "node", "Traffic from the pod's own node"),
        ],
    ),
    "dns": (
        f"{_DOCS}/dns-pod-service/",
        [
            ("DNS-SVC-1", "service", "A Service name resolves to its ClusterIP"),
            ("DNS-HEAD-1", "headless", "A headless Service resolves to its ready pods"),
            ("DNS-SRCH-1", "search", "The search path completes short names"),
            ("DNS-NX-1", "negative", "Unknown names answer NXDOMAIN"),
            ("DNS-EXT-1", "external", "Names outside the cluster resolve"),
        ],
    ),
    "services": (
        f"{_DOCS}/service/",
        [
            ("SVC-IP-1", "clusterip", "ClusterIP reaches a ready backend"),
            ("SVC-LB-1", "balancing", "Connections spread over all backends"),
            ("SVC-AFF-1", "affinity", "ClientIP affinity keeps its backend"),
            ("SVC-NODE-1", "nodeport", "NodePort answers on every node"),
            ("SVC-NONE-1", "clusterip", "A Service without endpoints is refused"),
        ],
    ),
    "loadbalancer": (
        f"{_DOCS}/service/#loadbalancer",
        [
            ("LB-IP-1", "address", "A LoadBalancer Service gets an address"),
            ("LB-IN-1", "ingress", "The address answers from outside the cluster"),
            ("LB-SRC-1", "source-ip", "externalTrafficPolicy Local keeps the client's address"),
        ],
    ),
    "l7": (
        "https://docs.cilium.io/en/stable/security/policy/layer7/",
        [
            ("L7-HTTP-1", "http", "POST /v1/infer is admitted"),
            ("L7-HTTP-2", "http", "GET /health and /metrics are admitted"),
            ("L7-HTTP-3", "http", "Everything else answers 403"),
        ],
    ),
    "latency": (
        "https://github.com/kubernetes/community/tree/master/sig-scalability/slos",
        [
            ("LAT-POD-1", "pod-to-pod", "Pod to pod round trip keeps its objectives"),
            ("LAT-SVC-1", "pod-to-service", "Pod to Service round trip keeps its objectives"),
        ],
    ),
}


def requirement(identifier: str) -> Requirement:
    """The requirement of the catalogue with that id."""
    for capability, (source, entries) in CATALOGUE.items():
        for name, feature, title in entries:
            if name == identifier:
                level = (
                    Level.TRAIT if name == "NP-NODE-1" else Level.SHOULD if "MTU-2" in name else Level.MUST
                )
                return Requirement(name, level, f"{capability}/{feature}", source, title)
    raise KeyError(identifier)
