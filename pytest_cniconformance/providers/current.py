# SPDX-License-Identifier: Apache-2.0
"""The cluster of the kubeconfig context in force: never created, never deleted."""

from __future__ import annotations

from pytest_cniconformance.providers import Cluster, ClusterRequest


class CurrentProvider:
    """Hands out what ``KUBECONFIG``, ``--cni-kubeconfig`` and ``--cni-context`` name."""

    def __init__(self, request: ClusterRequest) -> None:
        self._request = request

    def acquire(self) -> Cluster:
        """Return the cluster; reachability is judged when the run connects."""
        return Cluster("current", self._request.kubeconfig, self._request.context)

    def release(self, *, keep: bool = False) -> str:
        """Leave the user's cluster alone."""
        return ""
