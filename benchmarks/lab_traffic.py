# SPDX-License-Identifier: Apache-2.0
"""On a running lab: pods, exec round trip, a list of 500 pods, the 9x9x6 matrix open and a third denied."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from _timing import measure, show

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.lab.cluster import LabCluster
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation
from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.model.verdict import Protocol, Verdict
from pytest_cniconformance.policy.builders import network_policy
from pytest_cniconformance.probe import Fleet, PodMatrix, Target, agent_config_map, calibrate, probe_pod

NAMESPACES, PODS, PORTS = "xyz", "abc", (80, 81, 82)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        lab = LabCluster.start(profile="calico", directory=Path(directory))
        try:
            kube = KubeClient.connect(str(lab.kubeconfig))
            pods_start(kube)
            matrix(kube)
            api(kube)
        finally:
            lab.stop()


def namespace(kube: KubeClient, name: str) -> None:
    """Create a namespace with the agent."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"ns": name}}})
    kube.apply(agent_config_map(name))


def ready(kube: KubeClient, name: str, where: str) -> dict[str, object]:
    """Wait until a pod is Ready."""
    return kube.wait_for(
        "v1",
        "Pod",
        lambda pod: (
            pod is not None
            and any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
            )
        ),
        name=name,
        namespace=where,
        timeout=60,
        what=f"pod {name}",
    )


def pods_start(kube: KubeClient) -> None:
    """Time 20 pods from the first request to the last Ready."""
    namespace(kube, "start")
    began = time.perf_counter()
    for number in range(20):
        kube.create(probe_pod(f"p{number}", "start"))
    for number in range(20):
        ready(kube, f"p{number}", "start")
    show("20 pods, created to Ready", [time.perf_counter() - began], 1.0)


def matrix(kube: KubeClient) -> None:
    """Time the 486-cell matrix: open, and with the third that enters x denied."""
    for name in NAMESPACES:
        namespace(kube, name)
        for pod in PODS:
            kube.create(probe_pod(pod, name, tcp=PORTS, udp=PORTS))
    with Fleet(kube) as fleet:
        targets = {}
        for name in NAMESPACES:
            for pod in PODS:
                key = f"{name}/{pod}"
                address = ready(kube, pod, name)["status"]["podIP"]  # type: ignore[index]
                fleet.add_pod(name, pod)
                targets[key] = Target.pod(key, {"ipv4": address})
        fleet.open()
        ring = [
            (key, targets[other].addresses["ipv4"], 80)
            for key, other in zip(targets, reversed(targets), strict=True)
        ]
        window = calibrate(fleet, ring, timeouts=Timeouts())
        pods = PodMatrix(fleet, targets, window=window)
        cells = [
            Cell(s, d, port, protocol)
            for s in targets
            for d in targets
            for port in PORTS
            for protocol in (Protocol.TCP, Protocol.UDP)
        ]
        seen = pods.observe(cells)
        assert {o.verdict for o in seen.values()} == {Verdict.OPEN}, "the matrix is not open"
        show(f"matrix of {len(cells)} cells, open", measure(lambda: pods.observe(cells), repeat=9), 0.4)
        kube.apply(network_policy("deny", "x", {}, types=["Ingress"]))
        expected = {
            cell: Expectation(
                Decision.DENY
                if cell.destination[0] == "x" and cell.source != cell.destination
                else Decision.ALLOW
            )
            for cell in cells
        }
        assert pods.settle(expected, deadline=30).agreed, "the policy did not become effective"
        show(
            f"matrix of {len(cells)} cells, a third denied (window {window.milliseconds} ms)",
            measure(lambda: pods.observe(cells), repeat=9),
            1.5 * window.seconds,
        )


def api(kube: KubeClient) -> None:
    """Time an exec round trip and a list of 500 pods."""
    kube.exec("x", "a", ["true"], timeout=10)
    show("exec `true`", measure(lambda: kube.exec("x", "a", ["true"], timeout=10), repeat=30))
    present = len(kube.list("v1", "Pod"))
    namespace(kube, "many")
    for number in range(500 - present):
        pod = probe_pod(f"m{number}", "many")
        pod["spec"]["nodeSelector"] = {"no-such-label": "stays-pending"}
        kube.create(pod)
    count = len(kube.list("v1", "Pod"))
    seconds = measure(lambda: kube.list("v1", "Pod"), repeat=15)
    show(f"list of {count} pods", seconds)
    assert statistics.median(seconds) > 0


if __name__ == "__main__":
    main()
