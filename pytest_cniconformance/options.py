# SPDX-License-Identifier: Apache-2.0
"""The names that users type: options with their ini keys and environment variables, markers, fixtures.

Data only, and standard library only: the plugin reads it in every pytest run, with or without ``--cni``.
"""

from __future__ import annotations

from typing import NamedTuple


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
        "latency and convergence objectives: a TOML file or the name of a bundled profile (default: default)",
        "PROFILE",
    ),
    Option("timeout-scale", "multiply every deadline, for slow clusters (default: 1)", "FACTOR"),
    Option(
        "external",
        "where traffic from outside starts: auto, runner, node:NAME or exec:COMMAND (default: auto)",
        "WHERE",
    ),
    Option("random", "compare N random sets of NetworkPolicies with the reference semantics", "N"),
    Option("seed", "seed of the random policies (default: a new one, printed)", "S"),
    Option("random-time", "seconds for drawing and comparing random policies (default: 900)", "SECONDS"),
    Option(
        "random-shrink-time",
        "seconds for shrinking a disagreement to its smallest form (default: 300)",
        "SECONDS",
    ),
    Option(
        "external-names",
        "names beyond the cluster that its pods must resolve, such as www.example.org",
        "LIST",
    ),
    Option(
        "lb-addresses",
        "spare addresses (FIRST-LAST or CIDR) for load-balancer pools of the checks' own",
        "LIST",
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

GROUPS = (
    "connectivity: pod, node and Service reachability",
    "netpol: NetworkPolicy v1 enforcement",
    "dns: cluster DNS",
    "services: ClusterIP, NodePort, affinity",
    "loadbalancer: LoadBalancer Services",
    "l7: HTTP-aware policy",
    "latency: latency objectives, measured alone on the cluster",
)
"""The marker groups, one per suite."""

MARKERS = (
    *GROUPS,
    "smoke: the checks to begin with, some of each group, in under a minute",
    "generated: the generated case space of NetworkPolicy, the larger part of the netpol group",
    "requirement(requirement): the requirement that this check proves",
)

AUTHOR_FIXTURES = (
    "cni_balancers",
    "cni_convergence",
    "cni_external",
    "cni_grid",
    "cni_kube",
    "cni_measure",
    "cni_names",
    "cni_namespace",
    "cni_profile",
    "cni_pykube",
    "cni_services",
    "cni_startup",
    "cni_trait",
)
"""Fixtures for test authors (:mod:`pytest_cniconformance.fixtures`); they skip without ``--cni``."""
