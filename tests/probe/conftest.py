# SPDX-License-Identifier: Apache-2.0
"""A network of the tests' own: one router and a few pods as network namespaces, filtered by the router's nftables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.probe import Fleet, ProcessTransport, Window
from pytest_cniconformance.probe.transport import LAUNCHER, agent_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WINDOW = Window(0.3)


class Network:
    """``router`` forwards between pods ``a``, ``b``, ... (10.77.<i>.2 and fd77:<i>::2)."""

    def __init__(self, pods: Sequence[str]) -> None:
        self.prefix = f"cnp{os.getpid()}"
        self.pods = list(pods)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.namespaces = [self.ns("router"), *(self.ns(pod) for pod in self.pods)]

    def ns(self, pod: str) -> str:
        return f"{self.prefix}-{pod}"

    def ip(self, pod: str, family: str = "ipv4") -> str:
        number = self.pods.index(pod) + 1
        return f"10.77.{number}.2" if family == "ipv4" else f"fd77:{number}::2"

    def prefix_argv(self, pod: str) -> list[str]:
        return ["ip", "netns", "exec", self.ns(pod)]

    def up(self) -> None:
        router = self.ns("router")
        lines = [f"netns add {namespace}" for namespace in self.namespaces]
        self._batch(lines)
        for name in ("router", *self.pods):
            # Or the first second of every link would be spent on detecting duplicate addresses.
            self.run(
                name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0"
            )
        links = ["link set lo up"]
        for number, pod in enumerate(self.pods, 1):
            links += [
                f"link add v{number} type veth peer name eth0 netns {self.ns(pod)}",
                f"address add 10.77.{number}.1/24 dev v{number}",
                f"address add fd77:{number}::1/64 dev v{number} nodad",
                f"link set v{number} up",
            ]
        self._batch(links, router)
        self.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        # Kernels ration ICMP errors per peer: 6, then one a second. The tests want every one of theirs.
        self.run("router", "sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
        for number, pod in enumerate(self.pods, 1):
            self._batch(
                [
                    "link set lo up",
                    f"address add 10.77.{number}.2/24 dev eth0",
                    f"address add fd77:{number}::2/64 dev eth0 nodad",
                    "link set eth0 up",
                    f"route add default via 10.77.{number}.1",
                    f"route add default via fd77:{number}::1",
                ],
                self.ns(pod),
            )

    def down(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def run(self, pod: str, *argv: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [*self.prefix_argv(pod), *argv], input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def filter(self, *rules: str) -> None:
        """Let the router's forward chain hold exactly these rules."""
        body = "\n".join(rules)
        self.run(
            "router",
            "nft",
            "-f",
            "-",
            stdin=f"table inet t {{}}\ndelete table inet t\ntable inet t {{\nchain f {{\ntype filter hook forward "
            f"priority 0;\n{body}\n}}\n}}\n",
        )

    def start(self, pod: str, *argv: str) -> subprocess.Popen[bytes]:
        """Start a process in the pod and wait for its first line of output."""
        process = subprocess.Popen(
            [*self.prefix_argv(pod), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"{argv} did not start in {pod}"
        return process

    def serve(self, pod: str, *listen: str, identity: str = "") -> subprocess.Popen[bytes]:
        flags = [word for item in listen for word in ("--listen", item)]
        return self.start(pod, *serve_command(identity or f"x/{pod}"), *flags)

    def python(self, pod: str, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start(pod, sys.executable, "-c", textwrap.dedent(code), *arguments)

    @staticmethod
    def stop(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        process.wait()

    def _batch(self, lines: list[str], namespace: str | None = None) -> None:
        where = ["-n", namespace] if namespace else []
        subprocess.run(
            ["ip", *where, "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True
        )


def serve_command(identity: str, python: str = sys.executable) -> list[str]:
    """The command of a serving agent on this machine."""
    return agent_command("serve", identity, python=python, folder=LAUNCHER.parent)


def missing() -> str:
    """Why network namespaces cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for tool in ("ip", "nft", "sysctl"):
        if shutil.which(tool) is None:
            return f"needs the command {tool}"
    name = f"cnp{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"cannot make a network namespace: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


@pytest.fixture(scope="session")
def _whole_network() -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    network = Network(["a", "b", "c"])
    try:
        network.up()
        for pod in network.pods:
            network.serve(pod, "TCP:80", "TCP:81", "UDP:80")
        yield network
    finally:
        network.down()


@pytest.fixture
def network(_whole_network: Network) -> Iterator[Network]:
    """The network with servers on 80 and 81/TCP and 80/UDP in every pod, and no filter."""
    before = len(_whole_network.processes)
    yield _whole_network
    for process in _whole_network.processes[before:]:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    del _whole_network.processes[before:]
    _whole_network.filter()


@pytest.fixture
def fleet(network: Network) -> Iterator[Fleet]:
    """Agents ``x/a``, ``x/b``, ``x/c``, one in each pod."""
    with Fleet() as fleet:
        for pod in network.pods:
            fleet.add(
                f"x/{pod}",
                lambda pod=pod: ProcessTransport(network.prefix_argv(pod), identity=f"x/{pod}"),  # type: ignore[misc]
            )
        fleet.open()
        yield fleet


def counters(fleet: Fleet, pod: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = fleet.request(f"x/{pod}", "counters")["counters"]
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
