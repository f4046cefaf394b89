# SPDX-License-Identifier: Apache-2.0
"""The pytest entry point: options, ini keys and markers, and nothing else until ``--cni`` is given.

Imports only the standard library and pytest, so that having the plugin installed costs nothing.
Everything that runs lives in :mod:`pytest_cniconformance.session`, loaded when a run is active.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import pytest


class Option(NamedTuple):
    """One setting: command line ``--cni-NAME``, ini ``cni_NAME``, environment ``CNI_NAME``."""

    name: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    many: bool = False

    @property
    def flag(self) -> str:
        """The command-line flag; the CNI itself is plain ``--cni``."""
        return "--cni" if self.name == "name" else f"--cni-{self.name}"

    @property
    def dest(self) -> str:
        """The attribute in ``config.option`` and the ini key."""
        return f"cni_{self.name.replace('-', '_')}"

    @property
    def env(self) -> str:
        """The environment variable."""
        return self.dest.upper()


OPTIONS = (
    Option(
        "name",
        "test this CNI: flannel, calico, cilium, … or auto to detect it; switches the plugin on",
        "NAME",
    ),
    Option(
        "cluster",
        "where the cluster comes from: the current kubeconfig context (default), a kind cluster, or the embedded lab",
        choices=("current", "kind", "lab"),
    ),
    Option(
        "kubeconfig",
        "kubeconfig file of the cluster under test (default: KUBECONFIG, ~/.kube/config)",
        "PATH",
    ),
    Option("context", "context of that kubeconfig (default: its current context)", "NAME"),
    Option("image", "image of the probe pods: any with python3 ≥ 3.8 (default: python:3.13-alpine)", "IMAGE"),
    Option("report", "directory of report.json, report.html and report.md (default: cni-report)", "DIR"),
    Option("require", "capabilities that must be enforced: not-enforced or not-supported then fails", "LIST"),
    Option(
        "keep",
        "keep what the run created: never (default), on-failure, always",
        choices=("never", "on-failure", "always"),
    ),
    Option(
        "slo",
        "latency objectives: a TOML file or the name of a bundled profile (default: default)",
        "PROFILE",
    ),
    Option("timeout-scale", "multiply every deadline, for slow clusters (default: 1)", "FACTOR"),
    Option(
        "external",
        "where traffic from outside starts: auto, runner, node:NAME or exec:COMMAND (default: auto)",
        "WHERE",
    ),
    Option(
        "lab-fault",
        "inject a fault into the lab (repeatable; `cniconformance lab faults` lists them)",
        "NAME",
        many=True,
    ),
    Option("lab-nodes", "nodes of the lab (default: 3)", "N"),
    Option("lab-families", "IP families of the lab (default: ipv4)", "LIST"),
)

MARKERS = (
    "connectivity: pod, node and Service reachability",
    "netpol: NetworkPolicy v1 enforcement",
    "dns: cluster DNS",
    "services: ClusterIP, NodePort, affinity",
    "loadbalancer: LoadBalancer Services",
    "l7: HTTP-aware policy",
    "latency: latency objectives, measured alone on the cluster",
    "requirement(requirement): the requirement that this check proves",
)

AUTHOR_FIXTURES = (
    "cni_external",
    "cni_grid",
    "cni_kube",
    "cni_measure",
    "cni_namespace",
    "cni_profile",
    "cni_pykube",
    "cni_services",
    "cni_trait",
)
"""Fixtures for test authors (:mod:`pytest_cniconformance.fixtures`); they skip without ``--cni``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option three ways: command line, ini file, environment."""
    group = parser.getgroup("cni", "Kubernetes CNI conformance")
    for option in OPTIONS:
        kwargs: dict[str, object] = {"dest": option.dest, "default": None, "help": option.help}
        if option.many:
            kwargs["action"] = "append"
        if option.choices:
            kwargs["choices"] = option.choices
        if option.metavar:
            kwargs["metavar"] = option.metavar
        group.addoption(option.flag, **kwargs)
        parser.addini(option.dest, f"{option.help} (also {option.flag}, {option.env})", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; with ``--cni`` hand over to the session package."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    import os

    chosen = config.getoption("cni_name") or os.environ.get("CNI_NAME") or config.getini("cni_name")
    if chosen:
        from pytest_cniconformance.session import activate

        activate(config)
    else:
        config.pluginmanager.register(_stand_ins(), "cniconformance-stand-ins")


def _skip_without_cluster() -> None:
    pytest.skip("needs a cluster: run with --cni=NAME (see --cni-cluster)")


def _stand_ins() -> ModuleType:
    """Return a plugin whose fixtures make the checks that ask for them skip instead of fail at set-up."""
    module = ModuleType("cniconformance_stand_ins")
    for name in AUTHOR_FIXTURES:
        setattr(module, name, pytest.fixture(name=name)(_skip_without_cluster))
    return module
