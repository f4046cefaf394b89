# SPDX-License-Identifier: Apache-2.0
"""The run as every pytest process sees it: settings, connection, profile, run id, directory."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.cni import CniProfile, load_profile
from pytest_cniconformance.providers import Cluster
from pytest_cniconformance.session.locks import ClusterLock
from pytest_cniconformance.session.settings import Settings

if TYPE_CHECKING:
    from pytest_cniconformance.kube import KubeClient


@dataclass
class Run:
    """One run. Controller and workers each hold their own; only :meth:`payload` crosses between them."""

    settings: Settings
    id: str
    directory: Path
    cluster: Cluster
    cni: str
    version: str = ""
    worker: str = "main"

    @functools.cached_property
    def kube(self) -> KubeClient:
        """The connection of this process."""
        from pytest_cniconformance.kube import KubeClient

        return KubeClient.connect(
            self.cluster.kubeconfig, self.cluster.context, timeouts=self.settings.timeouts
        )

    @functools.cached_property
    def profile(self) -> CniProfile:
        """The profile of the CNI under test."""
        return load_profile(self.cni)

    @functools.cached_property
    def lock(self) -> ClusterLock:
        """The cluster lock of this run."""
        return ClusterLock(self.directory)

    def payload(self) -> str:
        """Return what a worker needs to attach, as JSON."""
        return json.dumps(
            {
                "id": self.id,
                "directory": str(self.directory),
                "cni": self.cni,
                "version": self.version,
                "cluster": {
                    name: getattr(self.cluster, name)
                    for name in (
                        "provider",
                        "kubeconfig",
                        "context",
                        "emulated",
                        "disposable",
                        "notes",
                        "external",
                        "external_names",
                        "spare_addresses",
                    )
                },
            }
        )

    @classmethod
    def attach(cls, settings: Settings, payload: str, worker: str) -> Run:
        """Return the worker's view of the run that the controller described."""
        data = json.loads(payload)
        cluster: dict[str, Any] = data["cluster"]
        for name in ("notes", "external", "external_names", "spare_addresses"):
            cluster[name] = tuple(cluster[name])
        return cls(
            settings,
            data["id"],
            Path(data["directory"]),
            Cluster(**cluster),
            data["cni"],
            data["version"],
            worker,
        )


RUN: pytest.StashKey[Run] = pytest.StashKey()
"""Where ``config.stash`` keeps the run of this process."""


def new_run_id() -> str:
    """Return an id that is unique in practice and fits a label value and a namespace name."""
    return os.urandom(4).hex()
