# SPDX-License-Identifier: Apache-2.0
"""Time one 9 pods x 9 pods x 6 ports matrix (486 cells) over network namespaces, all open and with a third denied.

Run as root: ``python benchmarks/matrix_netns.py [repetitions]``. Prints milliseconds (minimum, median, maximum).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from pytest_cniconformance.model.matrix import Cell
from pytest_cniconformance.model.verdict import Protocol, Verdict
from pytest_cniconformance.probe import Fleet, PodMatrix, ProcessTransport, Target, calibrate
from pytest_cniconformance.probe.transport import LAUNCHER, agent_command

PODS = [f"{namespace}/{name}" for namespace in "xyz" for name in "abc"]
PORTS = [
    (80, Protocol.TCP),
    (81, Protocol.TCP),
    (82, Protocol.TCP),
    (80, Protocol.UDP),
    (81, Protocol.UDP),
    (82, Protocol.UDP),
]
PREFIX = f"cnbench{os.getpid()}"


def namespace(pod: str) -> str:
    return f"{PREFIX}-{pod.replace('/', '')}"


def address(pod: str) -> str:
    return f"10.78.0.{PODS.index(pod) + 2}"


def ip(lines: list[str], where: str | None = None) -> None:
    inside = ["-n", where] if where else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def build() -> None:
    """One bridge in a namespace of its own, one namespace per pod."""
    ip([f"netns add {PREFIX}-sw", *(f"netns add {namespace(pod)}" for pod in PODS)])
    ports = [f"link add v{i} type veth peer name eth0 netns {namespace(pod)}" for i, pod in enumerate(PODS)]
    ports += [f"link set v{i} master sw0 up" for i in range(len(PODS))]
    ip(["link add name sw0 type bridge", "link set sw0 up", *ports], f"{PREFIX}-sw")
    for pod in PODS:
        ip(["link set lo up", f"address add {address(pod)}/24 dev eth0", "link set eth0 up"], namespace(pod))


def deny_a_third() -> None:
    """Drop what goes to the pods of namespace y, from other pods."""
    victims = ", ".join(address(pod) for pod in PODS if pod.startswith("y/"))
    rules = (
        "table bridge t {\nchain f {\ntype filter hook forward priority 0;\n"
        f"ip daddr {{ {victims} }} tcp flags & (syn | ack) == syn drop\n"
        f"ip daddr {{ {victims} }} udp dport 80-82 drop\n}}\n}}\n"
    )
    subprocess.run(
        ["ip", "netns", "exec", f"{PREFIX}-sw", "nft", "-f", "-"], input=rules, text=True, check=True
    )


def serve(pod: str) -> subprocess.Popen[bytes]:
    listen = [word for port, protocol in PORTS for word in ("--listen", f"{protocol}:{port}")]
    argv = [*agent_command("serve", pod, python=sys.executable, folder=LAUNCHER.parent), *listen]
    process = subprocess.Popen(["ip", "netns", "exec", namespace(pod), *argv], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def report(name: str, times: list[float]) -> None:
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"{name:<44} min {low:7.1f}  median {middle:7.1f}  max {high:7.1f} ms", flush=True)


def measure(matrix: PodMatrix, repetitions: int) -> tuple[list[float], dict[str, int]]:
    cells = [Cell(a, b, port, protocol) for a in PODS for b in PODS for port, protocol in PORTS]
    times, counts = [], {}
    for _ in range(repetitions):
        began = time.perf_counter()
        observed = matrix.observe(cells)
        times.append((time.perf_counter() - began) * 1000)
        found = [str(observation.verdict) for observation in observed.values()]
        counts = {verdict: found.count(verdict) for verdict in sorted(set(found))}
        if errors := [str(o) for o in observed.values() if o.verdict is Verdict.PROBE_ERROR]:
            print("probe errors:", len(errors), errors[0])
    return times, counts


def main(repetitions: int = 15) -> None:
    servers: list[subprocess.Popen[bytes]] = []
    try:
        build()
        servers += [serve(pod) for pod in PODS]
        with Fleet() as fleet:
            for pod in PODS:
                prefix = ["ip", "netns", "exec", namespace(pod)]
                fleet.add(pod, lambda prefix=prefix, pod=pod: ProcessTransport(prefix, identity=pod))
            began = time.perf_counter()
            fleet.open()
            report("start of 9 agents", [(time.perf_counter() - began) * 1000])
            paths = [(a, address(b), 80) for a, b in zip(PODS, [*PODS[1:], PODS[0]], strict=True)]
            began = time.perf_counter()
            window = calibrate(fleet, paths)
            report("calibration", [(time.perf_counter() - began) * 1000])
            print(
                json.dumps(
                    {"window_ms": window.milliseconds, "p50": window.rtt_p50_ms, "p99": window.rtt_p99_ms}
                )
            )
            matrix = PodMatrix(
                fleet, {pod: Target.pod(pod, {"ipv4": address(pod)}) for pod in PODS}, window=window
            )
            times, counts = measure(matrix, repetitions)
            report(f"486 cells, open {counts}", times)
            deny_a_third()
            times, counts = measure(matrix, repetitions)
            report(f"486 cells, third denied {counts}", times)
            report("the same in windows", [t / window.milliseconds for t in times])
    finally:
        for process in servers:
            process.kill()
            process.wait()
        for name in (f"{PREFIX}-sw", *(namespace(pod) for pod in PODS)):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
