# SPDX-License-Identifier: Apache-2.0
"""What an installed CNI leaves in the API of a real cluster, so that the lab is recognised in the same way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses


@dataclass(frozen=True, slots=True)
class _Agent:
    """The DaemonSet of a CNI."""

    namespace: str
    name: str
    label: tuple[str, str]
    container: str
    image: str
    crds: tuple[tuple[str, str, str, str], ...] = ()  # group, kind, plural, scope
    config: dict[str, dict[str, str]] = field(default_factory=dict)


ADDRESS_ANNOTATIONS = {"calico": "cni.projectcalico.org/ipAddrs"}
"""By profile, the annotation by which a pod asks for its addresses, where the CNI has one."""

_CALICO = "crd.projectcalico.org"
_AGENTS = {
    "flannel": _Agent(
        "kube-flannel",
        "kube-flannel-ds",
        ("app", "flannel"),
        "kube-flannel",
        "ghcr.io/flannel-io/flannel:v0.27.4",
        config={
            "kube-flannel-cfg": {
                "net-conf.json": '{"Network": "10.244.0.0/16", "EnableNFTables": true, "Backend": {"Type": "vxlan"}}'
            }
        },
    ),
    "calico": _Agent(
        "kube-system",
        "calico-node",
        ("k8s-app", "calico-node"),
        "calico-node",
        "docker.io/calico/node:v3.30.3",
        crds=(
            (_CALICO, "IPPool", "ippools", "Cluster"),
            (_CALICO, "FelixConfiguration", "felixconfigurations", "Cluster"),
            (_CALICO, "ClusterInformation", "clusterinformations", "Cluster"),
        ),
        config={"calico-config": {"calico_backend": "vxlan", "veth_mtu": "0"}},
    ),
    "cilium": _Agent(
        "kube-system",
        "cilium",
        ("k8s-app", "cilium"),
        "cilium-agent",
        "quay.io/cilium/cilium:v1.18.4",
        config={
            "cilium-config": {
                "enable-l7-proxy": "true",
                "policy-enforcement-mode": "default",
                "routing-mode": "tunnel",
                "tunnel-protocol": "vxlan",
            }
        },
    ),
}


def cni_objects(profile: str) -> list[Obj]:
    """Return namespaces, CRDs, configuration and the agent's DaemonSet, in the order to create them."""
    agent = _AGENTS[profile]
    objects: list[Obj] = []
    if agent.namespace != "kube-system":
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": agent.namespace}})
    objects += [_crd(*crd) for crd in agent.crds]
    for name, data in agent.config.items():
        metadata = {"name": name, "namespace": agent.namespace}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    objects.append(_daemon_set(agent))
    return objects


def agent_key(profile: str) -> tuple[str, str]:
    """Return namespace and name of the agent's DaemonSet."""
    return _AGENTS[profile].namespace, _AGENTS[profile].name


def daemon_set_status(nodes: int) -> Obj:
    """Return the status of a DaemonSet that runs everywhere."""
    counts = (
        "currentNumberScheduled",
        "desiredNumberScheduled",
        "numberAvailable",
        "numberReady",
        "updatedNumberScheduled",
    )
    return {**dict.fromkeys(counts, nodes), "numberMisscheduled": 0}


def custom_resources(profile: str) -> list[Obj]:
    """Return the custom resources that describe how the CNI is set up."""
    if profile != "calico":
        return []
    pool = {
        "cidr": "10.244.0.0/16",
        "blockSize": 26,
        "ipipMode": "Never",
        "vxlanMode": "Always",
        "natOutgoing": True,
        "nodeSelector": "all()",
    }
    felix = {"bpfEnabled": False, "defaultEndpointToHostAction": "Accept"}
    info = {"calicoVersion": "v3.30.3", "clusterType": "k8s,lab", "datastoreReady": True}
    return [
        _custom("IPPool", "default-ipv4-ippool", pool),
        _custom("FelixConfiguration", "default", felix),
        _custom("ClusterInformation", "default", info),
    ]


def node_annotations(profile: str, node: NodeAddresses) -> dict[str, str]:
    """Return what the CNI's agent writes on its Node."""
    family = node.families[0]
    address = node.underlay(family)
    if profile == "flannel":
        prefix = "flannel.alpha.coreos.com"
        return {
            f"{prefix}/backend-type": "vxlan",
            f"{prefix}/kube-subnet-manager": "true",
            f"{prefix}/public-ip": address,
        }
    if profile == "calico":
        prefix = "projectcalico.org/IPv4" if family == "ipv4" else "projectcalico.org/IPv6"
        return {f"{prefix}Address": f"{address}/16", f"{prefix}VXLANTunnelAddr": node.vtep(family)}
    return {
        f"network.cilium.io/{family}-pod-cidr": str(node.pod_cidr(family)),
        f"network.cilium.io/{family}-cilium-host": node.gateway(family),
    }


def _daemon_set(agent: _Agent) -> Obj:
    label = dict([agent.label])
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": agent.name, "namespace": agent.namespace, "labels": label},
        "spec": {
            "selector": {"matchLabels": label},
            "template": {
                "metadata": {"labels": label},
                "spec": {
                    "hostNetwork": True,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": agent.container, "image": agent.image}],
                },
            },
        },
    }


def _crd(group: str, kind: str, plural: str, scope: str) -> Obj:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}},
                }
            ],
        },
    }


def _custom(kind: str, name: str, spec: Obj) -> Obj:
    return {"apiVersion": f"{_CALICO}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
