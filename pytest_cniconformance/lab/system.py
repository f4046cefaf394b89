# SPDX-License-Identifier: Apache-2.0
"""The cluster DNS as objects: two pods behind the Service that every cluster calls ``kube-dns``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import owner_reference, set_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store
    from pytest_cniconformance.lab.api.writes import Writes

NAMESPACE = "kube-system"
DNS_SERVICE = "kube-dns"
DOMAIN = "cluster.local"
_HASH = "7c65d6cfc9"
_LABELS = {"k8s-app": "kube-dns"}
_IMAGE = "registry.k8s.io/coredns/coredns:v1.12.1"
_DNS_ADDRESS = {"ipv4": "10.96.0.10", "ipv6": "fd00:10:96::a"}
_COREFILE = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 5
    }
    forward . /etc/resolv.conf
}
%(zone)s:53 {
    errors
    forward . %(server)s
}
"""


def dns_addresses(families: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of the DNS Service, one per family."""
    return tuple(_DNS_ADDRESS[family] for family in families)


def create_dns(
    writes: Writes, families: Sequence[str], commands: Sequence[Sequence[str]], *, zone: str, server: str
) -> None:
    """Create everything that the cluster DNS consists of; ``commands`` is what its pods run, one each.

    The names of the stub zone ``zone`` are asked of ``server``.

    The lab has no Deployment controller: the objects are there for those who look for them, the pods are made
    here and not replaced.
    """
    metadata = {"name": "coredns", "namespace": NAMESPACE}
    create = partial(writes.create_object, trusted=True)
    create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    corefile = _COREFILE % {"zone": zone, "server": server}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": corefile}}
    create(config)
    create(_service(families))
    replicas = len(commands)
    template = {"metadata": {"labels": _LABELS}, "spec": _pod_spec(commands[0])}
    spec = {"replicas": replicas, "selector": {"matchLabels": _LABELS}, "template": template}
    deployment = create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**metadata, "labels": _LABELS},
            "spec": spec,
        }
    )
    labels = {**_LABELS, "pod-template-hash": _HASH}
    replica_set = create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"coredns-{_HASH}",
                "namespace": NAMESPACE,
                "labels": labels,
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                **spec,
                "selector": {"matchLabels": labels},
                "template": {**template, "metadata": {"labels": labels}},
            },
        }
    )
    for argv in commands:
        create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "generateName": f"coredns-{_HASH}-",
                    "namespace": NAMESPACE,
                    "labels": labels,
                    "ownerReferences": [owner_reference(replica_set)],
                },
                "spec": _pod_spec(argv),
            }
        )
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), replicas)
    set_status(writes.store, "replicasets.apps", replica_set, {**counts, "fullyLabeledReplicas": replicas})
    available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
    status = {**counts, "updatedReplicas": replicas, "conditions": set_condition([], available)}
    set_status(writes.store, "deployments.apps", deployment, status)


def set_status(store: Store, resource: str, obj: Obj, status: Obj) -> None:
    """Write the status that a controller of a real cluster would write."""
    generation = obj["metadata"].get("generation", 1)
    store.update(
        resource, {**obj, "status": {**status, "observedGeneration": generation}}, subresource="status"
    )


def _service(families: Sequence[str]) -> Obj:
    addresses = dns_addresses(families)
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": DNS_SERVICE,
            "namespace": NAMESPACE,
            "labels": {**_LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "selector": _LABELS,
            "clusterIP": addresses[0],
            "clusterIPs": list(addresses),
            "ipFamilyPolicy": "RequireDualStack" if len(addresses) > 1 else "SingleStack",
            "ports": ports,
        },
    }


def _pod_spec(argv: Sequence[str]) -> Obj:
    paths = _python_paths()
    container = {
        "name": "coredns",
        "image": _IMAGE,
        "command": list(argv),
        "env": [{"name": "PYTHONPATH", "value": ":".join(paths)}],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "volumeMounts": [
            {"name": f"python-{number}", "mountPath": path, "readOnly": True}
            for number, path in enumerate(paths)
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 60},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    return {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": f"python-{number}", "hostPath": {"path": path, "type": "Directory"}}
            for number, path in enumerate(paths)
        ],
    }


def _python_paths() -> list[str]:
    """Where the server's modules lie: containers see home directories as empty, so these are mounted."""
    here = str(Path(__file__).resolve().parents[2])
    found = [here]
    for entry in sys.path:
        path = Path(entry)
        if path.name in ("site-packages", "dist-packages") and path.is_dir() and str(path) not in found:
            found.append(str(path))
    return found
