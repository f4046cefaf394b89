# SPDX-License-Identifier: Apache-2.0
"""Faults of Services: endpoints, ports, affinity, node ports, traffic policies, connections."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import ALL_PROFILES, Fault


def _service(
    name: str, summary: str, mimics: str, *caught_by: str, families: tuple[str, ...] = ("ipv4",)
) -> Fault:
    return Fault(name, "services", summary, mimics, caught_by, ALL_PROFILES, families)


SERVICE_FAULTS: tuple[Fault, ...] = (
    _service(
        "service-rules-missing",
        "the last node has no rules for Services outside kube-system and default",
        "kubernetes/kubernetes#70493",
        "SVC-CLUSTERIP",
        "SVC-SINGLESTACK",
        "SVC-DISTRIBUTION",
        "CT-SVC-IP",
    ),
    _service(
        "service-sticky",
        "every connection to a Service goes to the first endpoint",
        "kubernetes/kubernetes#24322, #28674",
        "SVC-SPREAD",
    ),
    _service(
        "service-endpoint-unused",
        "the last of several endpoints of a Service is never used",
        "kubernetes/kubernetes#24322",
        "SVC-SPREAD",
        "SVC-SLICES",
    ),
    _service(
        "service-skewed",
        "the first endpoint of a Service gets more than its share of connections",
        "probabilities of KUBE-SEP rules that do not add up to an even split",
        "SVC-FAIR",
    ),
    _service(
        "endpoints-include-dead",
        "an address that no pod has is among the endpoints of every Service",
        "kubernetes/kubernetes#67875, #51445",
        "SVC-SPREAD",
    ),
    _service(
        "service-target-port-ignored",
        "a Service forwards to its own port number instead of the target port",
        "translation of the address alone",
        "SVC-TARGETPORT",
        "SVC-MULTIPORT",
    ),
    _service(
        "service-first-port-only",
        "all ports of a Service lead to the target port of its first",
        "proxies that know one port for each Service",
        "SVC-MULTIPORT",
        "SVC-PROTOCOLS",
    ),
    _service(
        "named-port-of-one-pod",
        "a named target port is resolved once and used for all pods",
        "aws/amazon-network-policy-controller-k8s#210 in its Service form",
        "SVC-NAMEDPORT",
    ),
    _service(
        "udp-services-ignored",
        "only the TCP ports of Services work",
        "proxies that treat every Service as TCP",
        "SVC-CLUSTERIP",
        "SVC-PROTOCOLS",
        "SVC-NODEPORT-UDP",
    ),
    _service(
        "service-protocols-collide",
        "of two ports with one number and two protocols only one works",
        "cilium/cilium#9207",
        "SVC-PROTOCOLS",
    ),
    _service(
        "service-source-rewritten",
        "connections to cluster IPs reach their backend with a node's address",
        "kube-proxy --masquerade-all",
        "SVC-SOURCE",
    ),
    _service(
        "host-clients-ignored",
        "processes in a node's network do not reach Services",
        "socket load balancing that is off in the host's network namespace",
        "SVC-HOSTNET-CLIENT",
    ),
    _service(
        "host-backends-left-out",
        "pods on the host network are no backends of Services",
        "proxies that know addresses of the pod ranges only",
        "SVC-HOSTNET-BACKEND",
    ),
    _service(
        "no-endpoints-dropped",
        "a Service without endpoints swallows connections instead of refusing them",
        "proxies without REJECT rules for Services that have no endpoints",
        "SVC-NOEP",
        "SVC-NOEP-UDP",
    ),
    _service(
        "endpoint-added-ignored",
        "a Service keeps the endpoints that it had first",
        "kubernetes/kubernetes#70493",
        "SVC-EP-ADDED",
        "SVC-EP-SELECTOR",
    ),
    _service(
        "endpoint-stale",
        "a pod that was a backend of a Service once stays one",
        "kubernetes/kubernetes#67875, #51445",
        "SVC-EP-REMOVED",
        "SVC-EP-SELECTOR",
        "SVC-READY-LOST",
        "SVC-AFFINITY-GONE",
    ),
    _service(
        "endpoints-unready-included",
        "pods that are not ready receive traffic",
        "endpoint controllers that look at the phase alone",
        "SVC-READY",
    ),
    _service(
        "publish-not-ready-ignored",
        "publishNotReadyAddresses has no effect",
        "headless peers that never find one another at start",
        "SVC-PUBLISH",
    ),
    _service(
        "terminating-endpoints-used",
        "pods that are being deleted still get new connections",
        "proxies that ignore the conditions of endpoints",
        "SVC-TERMINATING",
    ),
    _service(
        "terminating-fallback-missing",
        "with only terminating pods left a Service has no backend",
        "cilium/cilium#27358, ovn-kubernetes/ovn-kubernetes#4804",
        "SVC-TERMINATING-FALLBACK",
        "SVC-ETP-LOCAL-TERMINATING",
    ),
    _service(
        "selectorless-ignored",
        "EndpointSlices that people wrote are not used",
        "proxies that accept slices of the endpoint controller only",
        "SVC-SELECTORLESS",
    ),
    _service(
        "only-first-slice",
        "only one EndpointSlice of a Service is used",
        "proxies before EndpointSlices, cut at one object",
        "SVC-SLICES",
    ),
    _service(
        "service-update-ignored",
        "a Service is programmed as it was first created, endpoints excepted",
        "ovn-kubernetes/ovn-kubernetes#5119",
        "SVC-TYPE-NODEPORT",
        "SVC-TYPE-CLUSTERIP",
        "SVC-TYPE-EXTERNALNAME",
        "SVC-PORT-CHANGE",
        "SVC-AFFINITY-OFF",
    ),
    _service(
        "service-delete-ignored",
        "the address of a deleted Service still leads to its backends",
        "kubernetes/kubernetes#51445",
        "SVC-DELETE",
    ),
    _service(
        "affinity-ignored",
        "sessionAffinity ClientIP has no effect",
        "kubernetes/kubernetes#55429",
        "SVC-AFFINITY",
        "SVC-AFFINITY-NODEPORT",
    ),
    _service(
        "affinity-never-expires",
        "sessionAffinity ClientIP never ends, whatever its timeout says",
        "kops' skip list for kube-router: affinity timeout",
        "SVC-AFFINITY-TIMEOUT",
        "SVC-AFFINITY-OFF",
    ),
    _service(
        "nodeport-missing",
        "NodePorts are answered on no node",
        "NodePorts bound to one interface or closed by a host firewall",
        "SVC-NODEPORT",
    ),
    _service(
        "nodeport-on-one-node",
        "NodePorts are answered on the first node only",
        "proxies that bind node ports where the backend is",
        "SVC-NODEPORT",
        "SVC-NODEPORT-OUTSIDE",
    ),
    _service(
        "nodeport-outside-blocked",
        "NodePorts are closed to clients outside the cluster",
        "host firewalls; nodePortAddresses too narrow",
        "SVC-NODEPORT-OUTSIDE",
        "SVC-NODEPORT-HTTP",
    ),
    _service(
        "masquerade-missing",
        "a node forwards traffic from outside to another node without its own address as the source",
        "missing KUBE-MARK-MASQ; rp_filter and direct return paths: cilium/cilium#13130",
        "SVC-NODEPORT-OUTSIDE",
    ),
    _service(
        "local-applies-inside",
        "externalTrafficPolicy Local restricts the cluster IP as well",
        "proxies with one list of endpoints for inside and outside",
        "SVC-ETP-CLUSTERIP",
    ),
    _service(
        "internal-local-ignored",
        "internalTrafficPolicy Local has no effect",
        "proxies older than the field",
        "SVC-ITP-LOCAL",
        "SVC-ITP-NONE",
    ),
    _service(
        "health-check-always-ok",
        "healthCheckNodePort says 200 on every node",
        "kops#18515; ovn-kubernetes/ovn-kubernetes#5119",
        "SVC-HEALTHCHECK",
    ),
    _service(
        "hostport-missing",
        "host ports lead nowhere",
        "projectcalico/calico#5104; a CNI chain without portmap",
        "SVC-HOSTPORT",
    ),
    _service(
        "hostport-tcp-only",
        "UDP host ports lead nowhere",
        "cilium/cilium#14287",
        "SVC-HOSTPORT-UDP",
    ),
    _service(
        "external-ips-ignored",
        "externalIPs lead nowhere",
        "cilium/cilium#15361",
        "SVC-EXTERNALIP",
        "SVC-EXTERNALIP-INSIDE",
    ),
    _service(
        "udp-conntrack-stale",
        "UDP flows stay with an endpoint that is gone, or with the address of a Service that had none",
        "kubernetes/kubernetes#19029, #48370, #105657, #125467",
        "SVC-UDP-STALE",
        "SVC-UDP-LATE",
    ),
    _service(
        "connections-cut-on-change",
        "established connections to a Service break when its endpoints change",
        "conntrack flushed for more than the removed endpoint",
        "SVC-CONN-KEPT",
        "SVC-CONN-TERMINATING",
    ),
    _service(
        "idle-connections-cut",
        "connections that are idle for a second lose their translation",
        "nf_conntrack_tcp_timeout_established and NAT gateways set too low",
        "SVC-CONN-IDLE",
    ),
    _service(
        "service-rules-flap",
        "the rules of Services are away for a moment whenever they change",
        "proxies that rewrite their tables in more than one transaction",
        "SVC-CONN-ROLLING",
    ),
    _service(
        "second-family-missing",
        "a dual-stack Service answers at its first address only",
        "proxies that run in one family",
        "SVC-FAMILIES",
        families=("ipv4", "ipv6"),
    ),
)
