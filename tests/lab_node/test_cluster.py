# SPDX-License-Identifier: Apache-2.0
"""A whole lab, used as people use a cluster: with the kubernetes client and kubectl."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.lab.cluster import LabCluster
from pytest_cniconformance.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Obj = dict[str, Any]
_SERVER = (
    "import socket\ns = socket.create_server(('', 80))\nwhile True: s.accept()[0].sendall(b'I am {name}')"
)
_CLIENT = "import socket; print(socket.create_connection((%r, 80), 5).recv(99).decode())"
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["flannel", "calico", "cilium"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    """Give a lab of three nodes."""
    try:
        cluster = LabCluster.start(profile=request.param, directory=tmp_path_factory.mktemp("lab"))
    except LabError as error:
        pytest.skip(f"no lab on this machine: {error}")
    with cluster:
        yield cluster


@pytest.fixture(scope="module")
def kube(lab: LabCluster) -> KubeClient:
    """Give a client of the lab, with one server on each node and a Service over two of them."""
    client = KubeClient.connect(str(lab.kubeconfig), lab.context)
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}})
    for number in (1, 2, 3):
        client.apply(
            _pod(f"s{number}", ["python3", "-c", _SERVER.format(name=f"s{number}")], f"lab-worker{number}")
        )
    client.apply(_pod("client", ["sleep", "1000"], "lab-worker1"))
    spec = {"selector": {"role": "server"}, "ports": [{"port": 80}]}
    metadata = {"name": "web", "namespace": "t"}
    client.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    for name in ("s1", "s2", "s3", "client"):
        client.wait_for("v1", "Pod", _ready, name=name, namespace="t", timeout=20, what=f"pod {name} Ready")
    return client


def _pod(name: str, argv: Sequence[str], node: str, **spec: Any) -> Obj:
    container: Obj = {"name": "main", "image": "any", "command": list(argv)}
    labels = {"role": "client"}
    if name.startswith("s"):
        labels = {"role": "server"}
        container["readinessProbe"] = {"tcpSocket": {"port": 80}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "labels": labels},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            **spec,
        },
    }


def _ready(pod: Obj | None) -> bool:
    conditions = ((pod or {}).get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _ask(kube: KubeClient, host: str) -> str:
    result = kube.exec("t", "client", ["python3", "-c", _CLIENT % host], timeout=20)
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode().strip()


def test_nodes_and_dns_are_ready_from_the_start(kube: KubeClient) -> None:
    nodes = kube.list("v1", "Node")
    assert [node["metadata"]["name"] for node in nodes] == ["lab-worker1", "lab-worker2", "lab-worker3"]
    assert all(_ready(node) for node in nodes)
    dns = kube.list("v1", "Pod", "kube-system", labels={"k8s-app": "kube-dns"})
    assert len(dns) == 2 and all(map(_ready, dns))
    assert len({pod["spec"]["nodeName"] for pod in dns}) == 2


@pytest.mark.parametrize("server", ["s1", "s2"], ids=["same node", "other node"])
def test_pods_reach_pods_on(kube: KubeClient, server: str) -> None:
    ip = kube.get("v1", "Pod", server, "t")["status"]["podIP"]
    assert _ask(kube, ip) == f"I am {server}"


def test_pods_reach_a_service_by_address_and_by_every_form_of_its_name(kube: KubeClient) -> None:
    address = kube.get("v1", "Service", "web", "t")["spec"]["clusterIP"]
    for host in (address, "web", "web.t", "web.t.svc.cluster.local"):
        assert _ask(kube, host).startswith("I am s")


def test_names_outside_the_cluster_resolve_or_do_not_exist(kube: KubeClient) -> None:
    script = "import socket; print(socket.getaddrinfo('outside.lab.example', 1)[0][4][0])"
    result = kube.exec("t", "client", ["python3", "-c", script], timeout=20)
    assert result.stdout == b"172.30.2.1\n", result.stderr
    script = "import socket; socket.getaddrinfo('nowhere.example', 1)"
    result = kube.exec("t", "client", ["python3", "-c", script], timeout=20)
    assert b"Name or service not known" in result.stderr


def test_pods_reach_the_api_server_with_their_own_token(kube: KubeClient) -> None:
    script = (
        "import ssl, urllib.request as u, urllib.error\n"
        "base = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "request = u.Request('https://kubernetes.default/api', "
        "headers={'Authorization': 'Bearer ' + open(base + 'token').read()})\n"
        "print(u.urlopen(request, context=ssl.create_default_context(cafile=base + 'ca.crt')).status)"
    )
    result = kube.exec("t", "client", ["python3", "-c", script], timeout=20)
    assert (result.exit_code, result.stdout) == (0, b"200\n"), result.stderr


def test_host_network_pods_use_the_address_of_their_node(kube: KubeClient) -> None:
    kube.apply(_pod("host", ["sleep", "1000"], "lab-worker2", hostNetwork=True))
    pod = kube.wait_for("v1", "Pod", _ready, name="host", namespace="t", timeout=20, what="pod host Ready")
    assert pod["status"]["podIP"] == pod["status"]["hostIP"] == "172.30.1.2"
    result = kube.exec("t", "host", ["ip", "-br", "address", "show", "eth0"], timeout=10)
    assert b"172.30.1.2/" in result.stdout


def test_the_outside_host_is_outside(lab: LabCluster) -> None:
    done = subprocess.run([*lab.external, "ip", "-br", "address"], capture_output=True, text=True, check=True)
    assert "172.30.2.1/" in done.stdout


def test_kubectl_finds_its_way(lab: LabCluster, kube: KubeClient) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")

    def kubectl(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = ["kubectl", "--kubeconfig", str(lab.kubeconfig), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    assert "coredns" in kubectl("get", "pods", "-A").stdout
    assert kubectl("-n", "t", "exec", "client", "--", "sh", "-c", "exit 5").returncode == 5
    assert kubectl("-n", "t", "exec", "-i", "client", "--", "cat", stdin="over").stdout == "over"
    pod = json.dumps(_pod("talker", ["sh", "-c", "echo said; exec sleep 1000"], "lab-worker3"))
    assert kubectl("apply", "-f", "-", stdin=pod).returncode == 0
    assert kubectl("-n", "t", "wait", "--for=condition=Ready", "pod/talker", "--timeout=20s").returncode == 0
    assert kubectl("-n", "t", "logs", "talker").stdout == "said\n"
    assert kubectl("-n", "t", "delete", "pod", "talker", "--timeout=20s").returncode == 0


def test_a_lab_without_root() -> None:
    """One user id only, mapped to root of a user namespace: everything but runAsUser works."""
    if os.geteuid() != 0:
        pytest.skip("runs the other way round: the lab of the other tests is rootless already")
    python, user = _interpreter_of_nobody()
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        script = (
            "import subprocess, sys\nfrom pathlib import Path\n"
            "from pytest_cniconformance.lab.cluster import LabCluster\n"
            "with LabCluster.start(profile='calico', nodes=2, directory=Path(sys.argv[1])) as lab:\n"
            "    outside = subprocess.run([*lab.external, 'ip', '-br', 'address'], capture_output=True, text=True)\n"
            "    print([note for note in lab.notes if 'rootless' in note], outside.stdout)\n"
        )
        done = subprocess.run(
            [python, "-c", script, directory],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            env={
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": _python_path(),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "runAsUser" in done.stdout and "172.30.2.1/" in done.stdout
        assert list(Path(directory).iterdir()) == []


def _python_path() -> str:
    return os.pathsep.join([str(_ROOT), *(path for path in sys.path if path.endswith("-packages"))])


def _interpreter_of_nobody() -> tuple[str, pwd.struct_passwd]:
    """Find an interpreter that user ``nobody`` may run and that has the lab's modules; skip without one."""
    user = pwd.getpwnam("nobody")
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin:/bin")):
        if python is None:
            continue
        try:
            done = subprocess.run(
                [python, "-c", "import aiohttp, trustme, jsonschema_rs, pytest_cniconformance"],
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": _python_path()},
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python, user
    pytest.skip(f"user nobody can run no {version} with the lab's modules (are they below /root?)")
