# SPDX-License-Identifier: Apache-2.0
"""The product's convergence figures beside those of a program that shares nothing with its probes.

Run as root: ``python benchmarks/convergence_direct.py [events]``. It starts a lab, lets one pod reach another, and
creates and deletes a default-deny policy by plain HTTP requests. Two observers look on at the same time:

* the product: fresh TCP connections every 10 ms by the agent, mapped to the runner's clock from round trips;
* the direct one: a loop of forty lines, started by the official client's exec, that sends a UDP datagram from a
  port of its own every other millisecond to an echo of its own, and prints each with the kernel's CLOCK_MONOTONIC.

The lab is one kernel, so that clock is also the one on which this script notes when it sends the request: the
direct figures need no mapping at all. Where both agree within the step of the product's probes, its method holds.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests
from kubernetes import client, config
from kubernetes.stream import stream

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.lab.cluster import LabCluster
from pytest_cniconformance.measure import convergence as times
from pytest_cniconformance.probe import Fleet
from pytest_cniconformance.probe.watching import PathWatch
from pytest_cniconformance.probe.workload import agent_config_map, probe_pod

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9999))
while True:
    data, peer = s.recvfrom(64)
    s.sendto(data, peer)
"""

LOOP = """
import collections, select, socket, sys, time
host, window = sys.argv[1], 0.5
poll, waiting, sockets, lines = select.poll(), collections.deque(), {}, []
due, port = time.monotonic(), 10000
while True:
    # A source port that was used before may still be an established flow, which policies do not cut.
    port = port + 1 if port < 60000 else 10001
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setblocking(False)
    s.bind(("", port))
    entry = [time.monotonic(), None]
    try:
        s.sendto(b"?", (host, 9999))
    except OSError:
        pass
    sockets[s.fileno()] = (s, entry)
    waiting.append((s, entry))
    poll.register(s, select.POLLIN)
    due = max(due + 0.002, time.monotonic())
    while True:
        left = due - time.monotonic()
        for fd, _ in poll.poll(max(0, left * 1000)):
            poll.unregister(fd)
            sockets[fd][1][1] = True
        if left <= 0:
            break
    while waiting and (waiting[0][1][1] or time.monotonic() - waiting[0][1][0] > window):
        s, (sent, answered) = waiting.popleft()
        del sockets[s.fileno()]
        if not answered:
            poll.unregister(s)
        s.close()
        lines.append("%.6f %d" % (sent, bool(answered)))
    if len(lines) > 50:
        print("\\n".join(lines), flush=True)
        lines.clear()
"""

POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "bench"},
    "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
}
PAUSE = 0.1


class Direct:
    """The direct observer: what its loop printed, as runs."""

    def __init__(self, core: client.CoreV1Api, address: str) -> None:
        self._server = self._exec(core, "server", [ECHO])
        self._loop = self._exec(core, "client", [LOOP, address])
        self._attempts: list[tuple[float, bool]] = []
        self._closing = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @staticmethod
    def _exec(core: client.CoreV1Api, pod: str, words: list[str]) -> object:
        return stream(
            core.connect_get_namespaced_pod_exec, pod, "bench", command=["python3", "-c", *words],
            stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
        )  # fmt: skip

    def _read(self) -> None:
        rest = ""
        while self._loop.is_open() and not self._closing:  # type: ignore[attr-defined]
            self._loop.update(timeout=0.1)  # type: ignore[attr-defined]
            *lines, rest = (rest + self._loop.read_stdout(timeout=0)).split("\n")  # type: ignore[attr-defined]
            for sent, answered in (line.split() for line in lines if line):
                self._attempts.append((float(sent), answered == "1"))

    def runs(self) -> list[times.Run]:
        """Return the attempts so far as runs of like outcome."""
        found: list[times.Run] = []
        for sent, answered in list(self._attempts):
            if found and found[-1].open == answered:
                found[-1] = times.Run(answered, found[-1].first, sent, found[-1].count + 1)
            else:
                found.append(times.Run(answered, sent, sent, 1))
        return found

    def close(self) -> None:
        """End both programs."""
        self._closing = True
        self._reader.join()
        self._loop.close()  # type: ignore[attr-defined]
        self._server.close()  # type: ignore[attr-defined]


def main(events: int) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        LabCluster.start(profile="calico", directory=Path(directory)) as lab,
    ):
        kube = KubeClient.connect(str(lab.kubeconfig), lab.context)
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
        kube.create(agent_config_map("bench"))
        for name in ("server", "client"):
            kube.create(probe_pod(name, "bench", labels={"app": name}))
        address = {name: _ready(kube, name)["status"]["podIP"] for name in ("server", "client")}["server"]
        config.load_kube_config(str(lab.kubeconfig), lab.context)
        send = _requests(lab, client.Configuration.get_default_copy())
        with contextlib.closing(Direct(client.CoreV1Api(), address)) as direct, Fleet(kube) as fleet:
            agent = fleet.add_pod("bench", "client")
            agent.open()
            with PathWatch(agent, [(address, 80)], window_ms=100) as watch:
                _wait(lambda: bool(watch.look().paths[address, 80]) and bool(direct.runs()))
                found = _measure(events, send, watch, direct, (address, 80))
    for what, pairs in found.items():
        for name, index in (("product (TCP, 10 ms)", 0), ("direct (UDP, 2 ms)", 1)):
            _show(f"{what}, {name}", [pair[index] for pair in pairs])
        _show(f"{what}, product - direct", [pair[0] - pair[1] for pair in pairs])


def _measure(
    events: int,
    send: Callable[[str], None],
    watch: PathWatch,
    direct: Direct,
    place: tuple[str, int],
) -> dict[str, list[tuple[float, float]]]:
    """Return (product, direct) in milliseconds from request to last change, per kind of event."""
    found: dict[str, list[tuple[float, float]]] = {"time to deny": [], "time to allow": []}
    pause = threading.Event()
    for number in range(2 * events):
        deny = number % 2 == 0
        # Another phase each time, or the product's pace would beat with the events.
        pause.wait(PAUSE + number % 10 / 1000)
        began = time.monotonic()
        send("POST" if deny else "DELETE")

        def product() -> list[times.Run]:
            return [times.Run(a.open, a.first, a.last, a.count) for a in watch.look().paths[place]]

        def done(began: float = began, deny: bool = deny) -> bool:
            return all(times.settled(runs, began, not deny, 0.15) for runs in (product(), direct.runs()))

        _wait(done)
        both = [times.path_times(runs, began, not deny).last * 1000 for runs in (product(), direct.runs())]
        found["time to deny" if deny else "time to allow"].append((both[0], both[1]))
    return found


def _requests(lab: LabCluster, settings: client.Configuration) -> Callable[[str], None]:
    """Return what creates or deletes the policy, by requests alone."""
    session = requests.Session()
    session.trust_env = False  # a bundle in the environment would replace the lab's own authority
    session.verify = settings.ssl_ca_cert
    if settings.cert_file:
        session.cert = (settings.cert_file, settings.key_file)
    token = settings.api_key.get("authorization") or settings.api_key.get("BearerToken")
    if token:
        session.headers["Authorization"] = token
    url = f"{settings.host}/apis/networking.k8s.io/v1/namespaces/bench/networkpolicies"

    def send(method: str) -> None:
        answer = session.post(url, json=POLICY) if method == "POST" else session.delete(f"{url}/deny")
        answer.raise_for_status()

    session.get(url).raise_for_status()  # the connection is there before anything is timed
    return send


def _ready(kube: KubeClient, name: str) -> dict[str, dict[str, str]]:
    return kube.wait_for(
        "v1", "Pod", lambda pod: bool(pod and (pod.get("status") or {}).get("phase") == "Running"),
        name=name, namespace="bench", timeout=60, what=f"pod {name}",
    )  # fmt: skip


def _wait(wanted: Callable[[], bool]) -> None:
    end, pause = time.monotonic() + 30, threading.Event()
    while not wanted():
        assert time.monotonic() < end, "the change was not seen within 30 s"
        pause.wait(0.02)


def _show(what: str, milliseconds: list[float]) -> None:
    ordered = sorted(milliseconds)
    p90 = ordered[min(len(ordered) - 1, round(0.9 * len(ordered)))]
    print(
        f"{what:<40} min {ordered[0]:7.1f}  median {statistics.median(ordered):7.1f}  p90 {p90:7.1f}  "
        f"max {ordered[-1]:7.1f} ms  n={len(ordered)}",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
