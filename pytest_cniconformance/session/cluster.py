# SPDX-License-Identifier: Apache-2.0
"""The controller's side of a run: acquire the cluster, look at it, clean up, give it back."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.cni import detect, load_profile
from pytest_cniconformance.model.failure import ClusterError, UsageError
from pytest_cniconformance.providers import ClusterRequest, provider
from pytest_cniconformance.session.run import Run, new_run_id
from pytest_cniconformance.session.settings import Settings

if TYPE_CHECKING:
    from pytest_cniconformance.kube.facts import ClusterFacts
    from pytest_cniconformance.kube.preflight import Finding


class ClusterSession:
    """Owns the cluster for the length of a run; exists once, in the process that is not a worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = Path(tempfile.mkdtemp(prefix="cniconformance-"))
        self._provider = provider(
            settings.cluster,
            ClusterRequest(
                settings.cni,
                settings.kubeconfig,
                settings.context,
                self.directory,
                settings.lab_faults,
                settings.lab_nodes,
                settings.lab_families,
            ),
        )
        self.run: Run | None = None
        self.facts: ClusterFacts | None = None
        self.findings: Sequence[Finding] = ()

    def start(self) -> Run:
        """Acquire the cluster, detect its CNI, run the preflight checks.

        Raises:
            UsageError: something is missing; the message says what, and how to mend it.
        """
        if self.settings.cni != "auto":
            load_profile(self.settings.cni)
        elif self.settings.cluster != "current":
            raise UsageError(
                f"--cni=auto detects the CNI of a cluster that exists; --cni-cluster={self.settings.cluster} needs a name"
            )
        cluster = self._provider.acquire()
        self.run = run = Run(self.settings, new_run_id(), self.directory, cluster, self.settings.cni)
        try:
            from pytest_cniconformance.kube import preflight, read_facts
            from pytest_cniconformance.kube.preflight import blocking
            from pytest_cniconformance.probe.workload import probe_pod

            unread = ""
            try:
                self.facts = read_facts(run.kube)
            except ClusterError as error:
                unread = str(error)  # the preflight may know of more than what failed first
            sample = probe_pod("preflight", "default", image=self.settings.image)
            self.findings = preflight(run.kube, facts=self.facts, pod=sample)
            errors = blocking(self.findings)
            if errors:
                lines = [f"{f.message} — {f.remedy}" if f.remedy else f.message for f in errors]
                raise UsageError("the cluster is not ready for a run:\n  " + "\n  ".join(lines))
            if self.facts is None:
                raise UsageError(unread)
            found = detect(self.facts.cni)
        except ClusterError as error:
            raise UsageError(str(error)) from None
        run.version = found.version if found else ""
        if self.settings.cni == "auto":
            if found is None:
                unread = next((text for text in self.facts.unknown if text.startswith("DaemonSets:")), "")
                raise UsageError(
                    "--cni=auto: no known CNI was recognised on this cluster; name it with --cni=NAME"
                    + (f" (not readable: {unread})" if unread else "")
                )
            run.cni = found.name
        elif found is not None and found.name != self.settings.cni:
            raise UsageError(
                f"--cni={self.settings.cni}, but the cluster runs {found.name} ({'; '.join(found.evidence)}): "
                f"use --cni={found.name} or another cluster (--cni-context, --cni-kubeconfig)"
            )
        return run

    def close(self, *, keep: bool) -> list[str]:
        """Delete what the run left, release the cluster; return one line for each trouble."""
        troubles: list[str] = []
        run, self.run = self.run, None
        try:
            if run is not None and not keep:
                from pytest_cniconformance.kube import find_leftovers, sweep

                try:
                    if not run.cluster.disposable and self.facts is not None:
                        sweep(run.kube, find_leftovers(run.kube, run_id=run.id))
                except (ClusterError, UsageError) as error:
                    troubles.append(
                        f"objects of run {run.id} may be left: {error}; `cniconformance cleanup --run {run.id}` removes them"
                    )
        finally:
            if kept := self._provider.release(keep=keep):
                troubles.append(kept)
            with contextlib.suppress(OSError):
                shutil.rmtree(self.directory)
        return troubles
