# SPDX-License-Identifier: Apache-2.0
"""From what the controller knows to the run record."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version

import pytest

import pytest_cniconformance
from pytest_cniconformance.measure.convergence import pooled
from pytest_cniconformance.probe.vantage import describe_vantage
from pytest_cniconformance.report.check import CheckRecord
from pytest_cniconformance.report.record import (
    ClusterInfo,
    CniInfo,
    Environment,
    NodeInfo,
    RunInfo,
    RunRecord,
)
from pytest_cniconformance.report.summary import Claim
from pytest_cniconformance.session.cluster import ClusterSession

_PLUGINS = ("pytest-xdist", "kubernetes", "pykube-ng", "requests", "allure-pytest")


def assemble(
    cluster: ClusterSession,
    config: pytest.Config,
    checks: Iterable[CheckRecord],
    *,
    started: datetime.datetime,
    finished: datetime.datetime,
    duration: float,
    exit_status: int,
    selection: str,
) -> RunRecord:
    """Return the record of a run whose cluster is still known."""
    run, facts = cluster.run, cluster.facts
    assert run is not None and facts is not None
    profile = run.profile
    checks = sorted(checks, key=lambda check: check.sort_key)
    return RunRecord.assemble(
        run=RunInfo(
            id=run.id,
            started=started.isoformat(timespec="seconds"),
            finished=finished.isoformat(timespec="seconds"),
            duration_s=round(duration, 3),
            exit=exit_status,
            command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
            product=pytest_cniconformance.__version__,
            selection=selection,
        ),
        cni=CniInfo(
            requested=cluster.settings.cni,
            detected=run.cni,
            version=run.version,
            claims={name: Claim(claim) for name, claim in profile.claim_table().items()},
            notes=tuple(profile.notes),
        ),
        cluster=ClusterInfo(
            provider=run.cluster.provider,
            emulated=run.cluster.emulated,
            notes=(*run.cluster.notes, *(f"injected fault: {name}" for name in cluster.settings.lab_faults)),
            kubernetes=facts.version,
            context=run.cluster.context or run.kube.context,
            nodes=tuple(
                NodeInfo(name=n.name, kernel=n.kernel, os=n.os_image, arch=n.arch, runtime=n.runtime)
                for n in facts.nodes
            ),
            families=tuple(facts.families),
            pod_cidrs=tuple(cidr for node in facts.nodes for cidr in node.pod_cidrs),
        ),
        environment=Environment(
            python=sys.version.split()[0],
            pytest=pytest.__version__,
            plugins={name: version(name) for name in _PLUGINS},
            host=f"{platform.system()} {platform.release()} {platform.machine()}",
        ),
        vantage=describe_vantage(cluster.settings.external, provided=bool(run.cluster.external)),
        checks=checks,
        convergence=pooled(row for check in checks for row in check.convergence),
    )
