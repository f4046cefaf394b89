# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab_api.makers import config, pod, policy, service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab_api.fakes import FakeCluster

KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH")


@pytest.fixture
def kubectl(cluster: FakeCluster, namespace: str, tmp_path: Path) -> Callable[..., Any]:
    def run(*argv: str, stdin: str | None = None, rc: int = 0, context: str = "lab") -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(cluster.kubeconfig),
        }
        finished = subprocess.run(
            [str(KUBECTL), "--context", context, "-n", namespace, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert finished.returncode == rc, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    return run


def manifest(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


@pytest.mark.parametrize("server_side", [False, True])
def test_apply(kubectl: Callable[..., str], server_side: bool) -> None:
    how = ("apply", "--server-side", "-f", "-") if server_side else ("apply", "-f", "-")
    word = "serverside-applied" if server_side else "created"
    out = kubectl(*how, stdin=manifest(policy("a"), service("b"), config("c", x="1")))
    assert out.splitlines() == [
        f"networkpolicy.networking.k8s.io/a {word}",
        f"service/b {word}",
        f"configmap/c {word}",
    ]
    out = kubectl(*how, stdin=manifest(service("b"), config("c", x="2")))
    if not server_side:
        assert out.splitlines() == ["service/b unchanged", "configmap/c configured"]
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.data.x}") == "2"
    typo = policy("bad", ingres=[])
    refused = kubectl(*how, stdin=manifest(typo), rc=1)
    assert ("field not declared in schema" if server_side else 'unknown field "spec.ingres"') in refused
    assert "Invalid value: 70000" in kubectl(
        *how, stdin=manifest(policy("bad", egress=[{"ports": [{"port": 70000}]}])), rc=1
    )


def test_the_life_of_a_pod(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=manifest(pod("p", labels={"app": "web"}), service()))
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")
    assert "1/1     Running" in kubectl("get", "pods")
    assert "lab-worker" in kubectl("get", "pods", "-o", "wide")
    assert yaml.safe_load(kubectl("get", "pod", "p", "-o", "yaml"))["kind"] == "Pod"
    kubectl("label", "pod", "p", "color=red")
    kubectl("annotate", "pod", "p", "note=this")
    assert kubectl("get", "pods", "-l", "color=red", "-o", "name") == "pod/p\n"
    out = kubectl("exec", "-i", "p", "--", "sh", "-c", "cat; echo err >&2; exit 7", stdin="hello\n", rc=7)
    assert "hello\n" in out
    assert "err\n" in out
    assert kubectl("exec", "-i", "p", "--", "wc", "-c", stdin="x" * 300_000).strip() == "300000"
    assert kubectl("logs", "p", "--tail=1") == "line 4\n"
    assert kubectl("logs", "-f", "p", "--tail=1") == "line 4\nfollowed\n"
    described = kubectl("describe", "pod", "p")
    assert "Successfully assigned" in described
    assert "10.244." in kubectl("describe", "service", "s")
    assert "Scheduled" in kubectl("get", "events")
    assert "deleted" in kubectl("delete", "pod", "p", "--wait", "--timeout=20s")
    assert "not found" in kubectl("get", "pod", "p", rc=1)


def test_forced_deletion_and_waiting_for_it(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=manifest(pod("p")))
    kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    kubectl("wait", "--for=delete", "pod/p", "--timeout=20s")


def test_rights(kubectl: Callable[..., str]) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert kubectl("auth", "can-i", "create", "pods", context="nobody", rc=1) == "no\n"
    assert 'User "nobody" cannot list resource "pods"' in kubectl("get", "pods", context="nobody", rc=1)


def test_imperative_creation(kubectl: Callable[..., str]) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "service", "nodeport", "n", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "me")
    assert kubectl("create", "token", "me").count(".") == 2
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "b", "--role=r", "--user=nobody")
    assert kubectl("auth", "can-i", "get", "pods", context="nobody") == "yes\n"
    assert "80:" in kubectl("get", "service", "n")
    kubectl("patch", "service", "n", "-p", '{"spec":{"ports":[{"port":80,"targetPort":9000}]}}')
    assert kubectl("get", "service", "n", "-o", "jsonpath={.spec.ports[0].targetPort}") == "9000"


def test_discovery(kubectl: Callable[..., str]) -> None:
    assert "networkpolicies" in kubectl("api-resources")
    assert "metallb.io/v1beta1" in kubectl("api-versions")
    assert "endPort" in kubectl("explain", "networkpolicy.spec.ingress.ports")
    assert "+lab" in kubectl("version"), "the server says what it is"
