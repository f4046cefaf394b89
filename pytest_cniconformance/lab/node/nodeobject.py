# SPDX-License-Identifier: Apache-2.0
"""The Node objects of a lab."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import now

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses

VERSION = "v1.33.0"
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def node_object(addresses: NodeAddresses, *, ready: bool) -> Obj:
    """Return a node as its kubelet registers it."""
    families = addresses.families
    cidrs = [str(addresses.pod_cidr(family)) for family in families]
    arch = _ARCH.get(platform.machine(), platform.machine())
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}Ki",
        "ephemeral-storage": "10Gi",
        "pods": "110",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": addresses.name,
            "labels": {
                "kubernetes.io/hostname": addresses.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": arch,
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": arch,
                "node-role.kubernetes.io/worker": "",
                "topology.kubernetes.io/region": "lab",
                "topology.kubernetes.io/zone": addresses.zone,
            },
            "annotations": {"cniconformance.lab/emulated": "true"},
        },
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs, "providerID": f"lab://{addresses.name}"},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": addresses.underlay(family)} for family in families),
                {"type": "Hostname", "address": addresses.name},
            ],
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": _conditions(ready=ready),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": arch,
                "bootID": _read("/proc/sys/kernel/random/boot_id"),
                "containerRuntimeVersion": "lab://host",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": VERSION,
                "machineID": _read("/etc/machine-id"),
                "operatingSystem": "linux",
                "osImage": _os_image(),
                "systemUUID": "",
            },
        },
    }


def ready_condition() -> Obj:
    """Return the condition of a node whose network stands."""
    return _conditions(ready=True)[-1]


def _conditions(*, ready: bool) -> list[Obj]:
    texts = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if ready
        else ("Ready", "False", "KubeletNotReady", "container runtime network not ready"),
    )
    time = now()
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": time,
            "lastTransitionTime": time,
        }
        for kind, status, reason, message in texts
    ]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
