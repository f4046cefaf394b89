# SPDX-License-Identifier: Apache-2.0
"""A kind cluster made from ``kind-configs/``, with the CNI installed as its project documents."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import yaml

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.providers import Cluster, ClusterRequest

_TIMEOUT = 900.0


class KindProvider:
    """Creates a cluster of its own name, and deletes only that one."""

    def __init__(self, request: ClusterRequest) -> None:
        self._request = request
        self._name = f"cniconformance-{request.cni}-{uuid.uuid4().hex[:6]}"
        self._created = False

    def acquire(self) -> Cluster:
        """Create the cluster and install the CNI."""
        recipe = self._recipe()
        needed = ["docker", "kind", "kubectl"] + (["helm"] if "helm" in recipe else [])
        if missing := [tool for tool in needed if shutil.which(tool) is None]:
            raise UsageError(
                f"--cni-cluster=kind needs {', '.join(missing)} on PATH; or use --cni-cluster=lab"
            )
        kubeconfig = self._request.directory / "kind.kubeconfig"
        config = self._configs() / f"{self._request.cni}.yaml"
        self._created = True
        self._run(
            "kind", "create", "cluster", "--name", self._name, "--config", config, "--kubeconfig", kubeconfig
        )
        kubectl = ("kubectl", "--kubeconfig", kubeconfig)
        if script := recipe.get("nodes"):
            for node in self._run("kind", "get", "nodes", "--name", self._name).split():
                self._run("docker", "exec", node, "sh", "-ec", script)
        for url in recipe.get("manifests", []):
            self._run(*kubectl, "apply", "--server-side", "-f", url)
        if helm := recipe.get("helm"):
            arguments = ["--namespace", helm["namespace"], "--create-namespace", "--version", helm["version"]]
            for key, value in helm.get("values", {}).items():
                arguments += ["--set", f"{key}={value}"]
            self._run(
                "helm", "install", helm["release"], helm["chart"], "--repo", helm["repo"],
                "--kubeconfig", kubeconfig, "--wait", "--timeout", "10m", *arguments,
            )  # fmt: skip
        self._run(*kubectl, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=600s")
        # Its pods are the first to be connected: a CNI that is configured and does not work shows here.
        dns = ("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
        self._run(*kubectl, *dns)
        return Cluster(
            "kind",
            str(kubeconfig),
            f"kind-{self._name}",
            disposable=True,
            notes=tuple(recipe.get("notes", ())),
        )

    def release(self, *, keep: bool = False) -> str:
        """Delete the cluster that this provider created, or say how to."""
        if self._created:
            self._created = False
            if keep:
                return (
                    f"kept the kind cluster {self._name}: `kind export kubeconfig --name {self._name}` to look at it, "
                    f"`kind delete cluster --name {self._name}` to remove it"
                )
            subprocess.run(
                ["kind", "delete", "cluster", "--name", self._name], check=False, capture_output=True
            )
        return ""

    @staticmethod
    def _configs() -> Path:
        """Return the folder of the kind configurations, in the wheel or beside the package in a checkout."""
        package = Path(__file__).resolve().parents[1]
        wheel = package / "kind_configs"
        return wheel if wheel.is_dir() else package.parent / "kind-configs"

    def _recipe(self) -> dict[str, Any]:
        path = self._configs() / f"{self._request.cni}.install.yaml"
        if not path.is_file():
            known = sorted(
                p.name.removesuffix(".install.yaml") for p in self._configs().glob("*.install.yaml")
            )
            raise UsageError(
                f"--cni-cluster=kind has no configuration for {self._request.cni}; known: {', '.join(known)}"
            )
        return dict(yaml.safe_load(path.read_text("utf-8")))

    def _run(self, *argv: object) -> str:
        command = [str(word) for word in argv]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise UsageError(f"`{' '.join(command[:3])} …` did not finish in {_TIMEOUT:.0f} s") from None
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
            raise UsageError(f"`{' '.join(command[:3])} …` failed: {' / '.join(last)}")
        return done.stdout
