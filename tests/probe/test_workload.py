# SPDX-License-Identifier: Apache-2.0
"""Probe pods are admitted under Pod Security ``restricted`` and carry the very agent that is tested here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_cniconformance.probe import agent_config_map, probe_pod
from pytest_cniconformance.probe.agent.addresses import own_addresses
from pytest_cniconformance.probe.transport import LAUNCHER, agent_command
from pytest_cniconformance.probe.workload import CONTAINER, on_node


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["spec"]["containers"]
    return dict(found)


def test_config_map_holds_the_agent_and_fits() -> None:
    data = agent_config_map("x")["data"]
    assert {"run_agent.py", "__init__.py", "__main__.py"} < set(data)
    assert data["run_agent.py"] == LAUNCHER.read_text()
    assert (
        sum(map(len, data.values())) < 200_000
    )  # a ConfigMap may hold 1 MiB, its last-applied annotation 256 KiB


def test_agent_starts_from_the_mounted_config_map_alone(tmp_path: Path) -> None:
    """As in a pod: nothing of the package around it is there."""
    data = agent_config_map("x")["data"]
    (volume,) = probe_pod("a", "x")["spec"]["volumes"]
    for item in volume["configMap"]["items"]:
        file = tmp_path / item["path"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(data.pop(item["key"]))
    assert not data  # every key is mounted
    command = agent_command("probe", "x/a", python=sys.executable, folder=tmp_path)
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True, timeout=20)
    assert json.loads(done.stdout)["identity"] == "x/a"


def test_an_agent_takes_the_address_that_is_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node has others, which come and go with load balancers: a control that asks one of those proves nothing."""
    env = {entry["name"]: entry for entry in container(probe_pod("a", "x", host_network=True))["env"]}
    assert env["CNI_POD_IPS"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIPs"}}
    monkeypatch.setenv("CNI_POD_IPS", "192.0.2.7,2001:db8::7")
    found = own_addresses()
    assert [found[family][0] for family in (socket.AF_INET, socket.AF_INET6)] == ["192.0.2.7", "2001:db8::7"]


def test_pod_meets_pod_security_restricted() -> None:
    pod = probe_pod("a", "x")
    security = pod["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"} in security["sysctls"]
    group = security["runAsGroup"]
    assert {"name": "net.ipv4.ping_group_range", "value": f"{group} {group}"} in security["sysctls"]
    assert container(pod)["securityContext"]["allowPrivilegeEscalation"] is False
    assert container(pod)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "hostNetwork" not in pod["spec"]
    assert {next(iter(set(v) - {"name"})) for v in pod["spec"]["volumes"]} <= {"configMap", "emptyDir"}


def test_pod_serves_what_it_declares() -> None:
    pod = probe_pod(
        "a", "x", tcp=(80,), udp=(53,), sctp=(90,), http=(80, 8080), port_names={"web": (80, "TCP")}
    )
    command = container(pod)["command"]
    assert command[:4] == ["python3", "-I", "-S", "/cniconformance/run_agent.py"]
    listens = [after for word, after in pairwise(command) if word == "--listen"]
    assert listens == ["TCP:80", "TCP:8080", "UDP:53", "SCTP:90"]
    assert container(pod)["ports"][0] == {"containerPort": 80, "protocol": "TCP", "name": "web"}
    assert command[command.index("--identity") + 1] == "x/a"


def test_host_network_pod_takes_free_ports_only() -> None:
    pod = probe_pod("a", "x", host_network=True)
    command = container(pod)["command"]
    assert [word for word in command if ":" in word] == ["TCP:0", "UDP:0"]
    assert container(pod)["ports"] == []
    assert "sysctls" not in pod["spec"]["securityContext"]


@pytest.mark.parametrize("node", [None, "worker1"])
def test_pod_can_be_put_on_a_node(node: str | None) -> None:
    spec = probe_pod("a", "x", node=node)["spec"]
    assert spec.get("affinity") == (on_node(node) if node else None)
    assert "kubernetes.io/hostname" not in str(spec), "the host's name need not be the node's"


def test_more_containers_run_beside_the_agents() -> None:
    more = {"containers": [{"name": "second", "image": "i"}], "subdomain": "s"}
    spec = probe_pod("a", "x", spec=more)["spec"]
    assert [container["name"] for container in spec["containers"]] == [CONTAINER, "second"]
    assert spec["subdomain"] == "s"
