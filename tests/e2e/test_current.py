# SPDX-License-Identifier: Apache-2.0
"""The default provider: a cluster that somebody else owns. It is found as it was, and left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.lab.cluster import LabCluster
from tests.e2e.running import SUITES


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    lab = LabCluster.start(profile="calico", directory=tmp_path_factory.mktemp("cluster"))
    yield lab
    lab.stop()


@pytest.fixture
def kube(cluster: LabCluster) -> KubeClient:
    return KubeClient.connect(str(cluster.kubeconfig))


def run(cluster: LabCluster, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def users_objects(kube: KubeClient) -> dict[str, str]:
    """Return uid and version of everything that a run could touch and is not its own."""
    kinds = [
        ("v1", "Namespace"),
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ]
    return {
        obj["metadata"]["uid"]: obj["metadata"]["resourceVersion"]
        for version, kind in kinds
        for obj in kube.list(version, kind)
        if not obj["metadata"]["name"].startswith("cni-")
        and not obj["metadata"].get("namespace", "").startswith("cni-")
    }


@pytest.fixture
def users_policy(kube: KubeClient) -> None:
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
    kube.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "theirs", "namespace": "theirs"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        }
    )
    kube.wait_for(
        "v1",
        "ConfigMap",
        lambda obj: obj is not None,
        name="kube-root-ca.crt",
        namespace="theirs",
        timeout=10,
        what="it",
    )


@pytest.mark.usefixtures("users_policy")
def test_a_run_leaves_the_cluster_as_it_was(cluster: LabCluster, kube: KubeClient, tmp_path: Path) -> None:
    before = users_objects(kube)
    done = run(
        cluster, tmp_path, "--cni=auto", str(SUITES / "test_netpol_isolation.py"), "-k", "add_up or both_ends"
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout and "cluster: current" in done.stdout
    assert users_objects(kube) == before
    kube.wait_for(
        "v1",
        "Namespace",
        lambda obj: obj is None,
        labels="cniconformance/run-id",
        timeout=30,
        what="namespaces to go",
    )


def test_the_wrong_cni_is_a_usage_error(cluster: LabCluster, tmp_path: Path) -> None:
    done = run(cluster, tmp_path, "--cni=cilium")
    assert done.returncode == 4
    assert "the cluster runs calico" in done.stderr and "--cni=calico" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_kept_objects_are_named_and_cleaned_up(cluster: LabCluster, kube: KubeClient, tmp_path: Path) -> None:
    done = run(
        cluster,
        tmp_path,
        "--cni=calico",
        "--cni-keep=always",
        str(SUITES / "test_dns_answers.py"),
        "-k",
        "not_exist_is_nxdomain",
    )
    assert done.returncode == 0, done.stdout
    command = next(word for word in done.stdout.split("`") if word.startswith("cniconformance cleanup"))
    assert kube.list("v1", "Namespace", labels="cniconformance/run-id")
    cleanup = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pytest_cniconformance.cli import main; raise SystemExit(main())",
            *command.split()[1:],
        ],
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert cleanup.returncode == 0 and "deleted Namespace cni-" in cleanup.stdout, cleanup.stderr
    kube.wait_for(
        "v1",
        "Namespace",
        lambda obj: obj is None,
        labels="cniconformance/run-id",
        timeout=30,
        what="namespaces to go",
    )


def test_a_vantage_that_reaches_nothing_is_inconclusive(cluster: LabCluster, tmp_path: Path) -> None:
    done = run(
        cluster,
        tmp_path,
        "--cni=calico",
        "--cni-timeout-scale=0.1",
        "-rs",
        str(SUITES / "test_loadbalancer_traffic.py"),
        "-k",
        "answers_from_outside",
    )
    assert done.returncode == 0, done.stdout
    assert "1 inconclusive" in done.stdout and "reaches no node" in done.stdout


def test_doctor_says_what_it_found(cluster: LabCluster) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pytest_cniconformance.cli import main; raise SystemExit(main(['doctor']))",
        ],
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "calico" in done.stdout and "ok" in done.stdout
