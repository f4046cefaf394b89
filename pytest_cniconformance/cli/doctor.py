# SPDX-License-Identifier: Apache-2.0
"""``cniconformance doctor``: what a run would need and what is missing, one line each."""

from __future__ import annotations

import argparse

from pytest_cniconformance.cli import add_connection
from pytest_cniconformance.cni import detect


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("doctor", help="check that the cluster is ready for a run; changes nothing")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every finding; return 1 if one of them stops a run."""
    from pytest_cniconformance.kube import KubeClient, preflight, read_facts
    from pytest_cniconformance.kube.errors import KubeError
    from pytest_cniconformance.probe.workload import probe_pod

    kube = KubeClient.connect(arguments.kubeconfig, arguments.context)
    try:
        facts = read_facts(kube)
    except KubeError:
        facts = None  # the preflight says why, and what else is missing
    if facts is not None:
        found = detect(facts.cni)
        version = f" {found.version}" if found and found.version else ""
        print(
            f"cluster  {kube.server} (context {kube.context}), Kubernetes {facts.version}, {len(facts.nodes)} nodes"
        )
        print(
            f"cni      {found.name}{version} ({'; '.join(found.evidence)})"
            if found
            else "cni      not recognised"
        )
    findings = preflight(kube, facts=facts, pod=probe_pod("preflight", "default"))
    for finding in findings:
        mark = "ok" if finding.ok else finding.level
        remedy = "" if finding.ok or not finding.remedy else f" — {finding.remedy}"
        print(f"{mark:<8} {finding.message}{remedy}")
    return int(any(not finding.ok and finding.level == "error" for finding in findings))
