# SPDX-License-Identifier: Apache-2.0
"""Where clusters come from. Above this package nothing knows which provider a run uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_cniconformance.model.failure import UsageError


@dataclass(frozen=True, slots=True)
class Cluster:
    """A reachable cluster: how to connect, and what a reader of the report must know about it.

    ``disposable`` clusters were made for this run and vanish whole when it ends. ``external`` is a command
    prefix that runs a program outside the cluster's nodes, where the provider has such a place; empty means
    the machine that runs pytest. ``external_names`` are names beyond the cluster that its pods can resolve, and
    ``spare_addresses`` are ranges that nobody uses and that load balancers may announce.
    """

    provider: str
    kubeconfig: str | None
    context: str | None
    emulated: bool = False
    disposable: bool = False
    notes: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    external_names: tuple[str, ...] = ()
    spare_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """What a provider needs to know to hand out a cluster."""

    cni: str
    kubeconfig: str | None
    context: str | None
    directory: Path
    lab_faults: tuple[str, ...] = ()
    lab_nodes: int = 3
    lab_families: tuple[str, ...] = field(default=("ipv4",))


class ClusterProvider(Protocol):
    """Hands out one cluster for the length of a run."""

    def acquire(self) -> Cluster:
        """Return a cluster that answers.

        Raises:
            UsageError: there is none; the message says what to do.
        """

    def release(self, *, keep: bool = False) -> str:
        """Give the cluster back; removes only what :meth:`acquire` created. May be called twice.

        With ``keep`` a cluster that can outlive the run does; returns how to remove it, else nothing.
        """


def provider(name: str, request: ClusterRequest) -> ClusterProvider:
    """Return the provider that ``--cni-cluster=NAME`` selects."""
    if name == "current":
        from pytest_cniconformance.providers.current import CurrentProvider

        return CurrentProvider(request)
    if name == "kind":
        from pytest_cniconformance.providers.kind import KindProvider

        return KindProvider(request)
    if name == "lab":
        from pytest_cniconformance.providers.lab import LabProvider

        return LabProvider(request)
    raise UsageError(f"--cni-cluster={name}: use current, kind or lab")
