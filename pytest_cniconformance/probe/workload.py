# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes objects that put agents into a cluster: a ConfigMap with the agent, and probe pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.probe.transport import AGENT_FOLDER_IN_POD, LAUNCHER, agent_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONFIG_MAP = "cniconformance-agent"
CONTAINER = "agent"
FIRST_CONTAINER = "first"
DEFAULT_IMAGE = "docker.io/library/python:3.13-alpine"

Obj = dict[str, Any]


def agent_config_map(namespace: str) -> Obj:
    """Return the ConfigMap that carries the agent; every namespace with probe pods needs one."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": namespace},
        "data": {path.name: path.read_text(encoding="utf-8") for path in _agent_files()},
    }


def _agent_files() -> list[Path]:
    return [LAUNCHER, *sorted((LAUNCHER.parent / "agent").glob("*.py"))]


def probe_pod(
    name: str,
    namespace: str,
    *,
    image: str = DEFAULT_IMAGE,
    labels: Mapping[str, str] | None = None,
    tcp: Sequence[int] = (80, 81),
    udp: Sequence[int] = (80, 81),
    sctp: Sequence[int] = (),
    http: Sequence[int] = (8080,),
    port_names: Mapping[str, tuple[int, str]] | None = None,
    node: str | None = None,
    host_network: bool = False,
    host_ports: Mapping[tuple[int, str], int] | None = None,
    linger_s: int = 0,
    spec: Mapping[str, Any] | None = None,
) -> Obj:
    """Return a pod that serves on these ports, names itself ``namespace/name``, and can probe.

    ``port_names`` gives container ports a name: ``{"web": (80, "TCP")}``. With ``host_network`` the ports are
    chosen by the kernel, for the node's own are none of ours; ask the agent for them (``ports``). Such a pod needs
    a namespace whose Pod Security level is ``privileged``; every other one is admitted under ``restricted``.

    ``host_ports`` asks for ports of the node (``{(80, "TCP"): 20080}``), which takes a ``privileged`` namespace too.
    With ``linger_s`` the pod goes on serving for so many seconds after its deletion. ``spec`` adds to the pod's spec;
    its containers run beside the agent's.

    There is no readiness probe: the kubelet's would cross the very network under test, and a broken path would
    read as a pod that never starts. Ask the agent (``ports``) whether it serves.
    """
    listen = [("TCP", port) for port in dict.fromkeys([*tcp, *http])]
    listen += [("UDP", port) for port in udp] + [("SCTP", port) for port in sctp]
    if host_network:
        listen = [(protocol, 0) for protocol in dict.fromkeys(protocol for protocol, _ in listen)]
    names = {(port, protocol): text for text, (port, protocol) in (port_names or {}).items()}
    identity = f"{namespace}/{name}"
    # The keys of a ConfigMap cannot have folders; the paths at which they are mounted can.
    items = [{"key": path.name, "path": str(path.relative_to(LAUNCHER.parent))} for path in _agent_files()]
    serve = [argument for protocol, port in listen for argument in ("--listen", f"{protocol}:{port}")]
    container: Obj = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": agent_command("serve", identity) + (["--linger"] if linger_s else []) + serve,
        # A node has other addresses too, those of load balancers that come and go among them: these are the pod's.
        "env": [
            {"name": "CNI_IDENTITY", "value": identity},
            {"name": "CNI_POD_IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        ],
        "ports": [_port(protocol, port, names, host_ports or {}) for protocol, port in listen if port],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "agent", "mountPath": AGENT_FOLDER_IN_POD, "readOnly": True}],
    }
    pod_spec: Obj = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": linger_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container, *(spec or {}).get("containers", ())],
        "volumes": [{"name": "agent", "configMap": {"name": CONFIG_MAP, "items": items}}],
    }
    if host_network:
        pod_spec["hostNetwork"] = True
        pod_spec["dnsPolicy"] = "ClusterFirstWithHostNet"
    else:
        # Lets a user other than root listen on port 80, and ping (one group is mapped in every user namespace that
        # could run the pod); "safe" sysctls, but of the pod's own namespace only.
        pod_spec["securityContext"]["sysctls"] = [
            {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"},
            {"name": "net.ipv4.ping_group_range", "value": "65534 65534"},
        ]
    if node is not None:
        pod_spec["affinity"] = on_node(node)
        pod_spec["tolerations"] = [{"operator": "Exists"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
        "spec": {**pod_spec, **{key: part for key, part in (spec or {}).items() if key != "containers"}},
    }


def idle_container(name: str, image: str, *ports: Obj) -> Obj:
    """Return a container that declares these ports and leaves it to the agent's to serve them."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"],
        "ports": list(ports),
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def sidecar(container: Obj) -> Obj:
    """Return the part of a pod's spec that makes a container a restartable init container (KEP-753)."""
    return {"initContainers": [{**container, "restartPolicy": "Always"}]}


def on_node(node: str) -> Obj:
    """Return the affinity that binds a pod to a node by its name, as DaemonSets do it.

    The label ``kubernetes.io/hostname`` would not do: clouds name nodes otherwise than their hosts.
    """
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def first_packets_pod(
    pod: Obj,
    *,
    listen: int = 80,
    targets: Sequence[tuple[str, int]] = (),
    calls: Sequence[tuple[str, int]] = (),
    window_ms: int = 100,
) -> Obj:
    """Return the probe pod ``pod`` with an init container before it that acts from the pod's first instant.

    It connects to each of ``targets`` every few milliseconds, listens on TCP port ``listen``, and sends beacons to
    ``calls``; it goes on until the pod is deleted, and its log (container ``first``) tells what it saw.
    """
    agent = pod["spec"]["containers"][0]
    identity = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    words = [*agent_command("first", identity), "--listen", f"TCP:{listen}", "--window", str(window_ms)]
    words += [word for host, port in targets for word in ("--to", f"{host}_{port}")]
    words += [word for host, port in calls for word in ("--call", f"{host}_{port}")]
    first = {key: value for key, value in agent.items() if key != "ports"}
    first |= {"name": FIRST_CONTAINER, "command": words}
    return {**pod, "spec": {**pod["spec"], "initContainers": [first]}}


def _port(
    protocol: str, port: int, names: Mapping[tuple[int, str], str], host: Mapping[tuple[int, str], int]
) -> Obj:
    found: Obj = {"containerPort": port, "protocol": protocol}
    if (port, protocol) in names:
        found["name"] = names[port, protocol]
    if (port, protocol) in host:
        found["hostPort"] = host[port, protocol]
    return found
