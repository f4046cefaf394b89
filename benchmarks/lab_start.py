# SPDX-License-Identifier: Apache-2.0
"""How long a lab takes: start to DNS Ready, 20 pods to Ready, an exec round trip, stop."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from _timing import measure, show

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.lab.cluster import LabCluster


def main() -> None:
    """Print the figures for each profile."""
    for profile in ("flannel", "calico", "cilium"):
        starts: list[float] = []
        stops: list[float] = []
        for _ in range(5):
            with tempfile.TemporaryDirectory() as directory:
                began = time.perf_counter()
                lab = LabCluster.start(profile=profile, nodes=3, directory=Path(directory))
                starts.append(time.perf_counter() - began)
                stops += measure(lab.stop, repeat=1)
        show(f"{profile}: 3 nodes and DNS Ready", starts, 2.0)
        show(f"{profile}: stop", stops)
    with (
        tempfile.TemporaryDirectory() as directory,
        LabCluster.start(profile="calico", directory=Path(directory)) as lab,
    ):
        kube = KubeClient.connect(str(lab.kubeconfig), lab.context)
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
        show("20 pods to Ready", [twenty_pods(kube, attempt) for attempt in range(5)], 1.0)
        show("exec round trip", measure(lambda: kube.exec("bench", "p0-0", ["true"], timeout=10), repeat=50))


def twenty_pods(kube: KubeClient, attempt: int) -> float:
    """Create 20 pods and wait until all are Ready; return the seconds."""
    began = time.perf_counter()
    for number in range(20):
        container = {"name": "main", "image": "any", "command": ["sleep", "1000"]}
        metadata = {"name": f"p{attempt}-{number}", "namespace": "bench"}
        kube.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        )
    for number in range(20):
        name = f"p{attempt}-{number}"
        kube.wait_for("v1", "Pod", ready, name=name, namespace="bench", timeout=30, what=f"pod {name} Ready")
    return time.perf_counter() - began


def ready(pod: dict[str, Any] | None) -> bool:
    """Whether a pod is Ready."""
    conditions = ((pod or {}).get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


if __name__ == "__main__":
    main()
