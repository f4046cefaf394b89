# SPDX-License-Identifier: Apache-2.0
"""The embedded lab as a provider: real packets on this machine, no Docker, no images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.providers import Cluster, ClusterRequest

if TYPE_CHECKING:
    from pytest_cniconformance.lab.cluster import LabCluster


class LabProvider:
    """Starts a lab that emulates the CNI under test, and stops it."""

    def __init__(self, request: ClusterRequest) -> None:
        self._request = request
        self._lab: LabCluster | None = None

    def acquire(self) -> Cluster:
        """Start the lab."""
        try:
            from pytest_cniconformance.lab.cluster import LabCluster
            from pytest_cniconformance.lab.errors import LabError
            from pytest_cniconformance.lab.metallb import spare_ranges
            from pytest_cniconformance.lab.outside import NAME
        except ImportError as error:
            raise UsageError(
                f"--cni-cluster=lab needs the lab's own packages ({error.name} is missing): "
                "pip install 'pytest-cniconformance[lab]'"
            ) from None
        request = self._request
        try:
            self._lab = lab = LabCluster.start(
                profile=request.cni,
                nodes=request.lab_nodes,
                families=request.lab_families,
                faults=request.lab_faults,
                directory=request.directory,
            )
        except LabError as error:
            raise UsageError(f"the lab cannot start: {error}") from None
        return Cluster(
            "lab",
            str(lab.kubeconfig),
            lab.context,
            emulated=True,
            disposable=True,
            notes=("emulated dataplane: no evidence about a real CNI", *lab.notes),
            external=tuple(lab.external),
            external_names=(NAME,),
            spare_addresses=spare_ranges(lab.families),
        )

    def release(self, *, keep: bool = False) -> str:
        """Stop the lab; its namespaces, links, processes and mounts go with it. A lab cannot be kept."""
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.stop()
        return ""
