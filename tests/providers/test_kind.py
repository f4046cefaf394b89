# SPDX-License-Identifier: Apache-2.0
"""The kind provider: which commands it runs, in which order, and that it deletes its own cluster only."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.providers import ClusterRequest, provider
from pytest_cniconformance.providers.kind import KindProvider

TOOLS = ("docker", "kind", "kubectl", "helm")
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0") $*" in
    "kind get nodes"*) echo first; echo second;;
    $FAIL) echo "it is broken" >&2; exit 1;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the tools, which write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).write_text(STUB)
        (folder / tool).chmod(0o755)
    log = tmp_path / "calls"
    log.write_text("")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("FAIL", "nothing")
    return log


def kind(tmp_path: Path, cni: str) -> KindProvider:
    made = provider("kind", ClusterRequest(cni, None, None, tmp_path))
    assert isinstance(made, KindProvider)
    return made


def words(log: Path) -> list[str]:
    return [" ".join(line.split()[:3]) for line in log.read_text().splitlines()]


def test_flannel_gets_its_plugin_on_every_node_before_its_manifest(tmp_path: Path, calls: Path) -> None:
    cluster = kind(tmp_path, "flannel").acquire()
    assert words(calls)[:2] == ["kind create cluster", "kind get nodes"]
    lines = calls.read_text()
    assert lines.index("docker exec first sh") < lines.index("docker exec second sh") < lines.index("apply")
    assert lines.index("apply --server-side") < lines.index("wait --for=condition=Ready nodes")
    assert "rollout status deployment/coredns" in lines.splitlines()[-1]
    assert cluster.disposable and not cluster.emulated
    assert cluster.kubeconfig == str(tmp_path / "kind.kubeconfig")


def test_cilium_comes_by_helm_with_its_values(tmp_path: Path, calls: Path) -> None:
    kind(tmp_path, "cilium").acquire()
    install = next(line for line in calls.read_text().splitlines() if line.startswith("helm"))
    assert "--repo https://helm.cilium.io/" in install and "--set ipam.mode=kubernetes" in install


def test_only_the_cluster_that_was_made_is_deleted_and_once(tmp_path: Path, calls: Path) -> None:
    made = kind(tmp_path, "calico")
    made.release()
    assert words(calls) == []
    made.acquire()
    name = calls.read_text().split("--name ")[1].split()[0]
    made.release()
    made.release()
    deleted = [line for line in calls.read_text().splitlines() if "delete" in line]
    assert deleted == [f"kind delete cluster --name {name}"]


def test_a_cluster_that_is_kept_is_told_how_to_remove(tmp_path: Path, calls: Path) -> None:
    made = kind(tmp_path, "calico")
    made.acquire()
    assert "kind delete cluster --name cniconformance-calico-" in made.release(keep=True)
    assert "delete" not in calls.read_text()


def test_a_step_that_fails_is_one_message_and_leaves_no_cluster(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "kind create*")
    made = kind(tmp_path, "calico")
    with pytest.raises(UsageError, match=r"`kind create cluster …` failed: it is broken"):
        made.acquire()
    made.release()
    assert words(calls)[-1] == "kind delete cluster"


def test_missing_tools_and_unknown_cnis_are_named(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no configuration for weave; known: calico, cilium, flannel"):
        kind(tmp_path, "weave").acquire()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs docker, kind, kubectl, helm on PATH"):
        kind(tmp_path, "cilium").acquire()


@pytest.mark.parametrize("cni", ["calico", "cilium", "flannel"])
def test_every_configuration_leaves_the_network_to_the_cni(cni: str) -> None:
    config = yaml.safe_load((KindProvider._configs() / f"{cni}.yaml").read_text("utf-8"))
    assert config["networking"]["disableDefaultCNI"] is True
    assert [node["role"] for node in config["nodes"]].count("worker") >= 2
