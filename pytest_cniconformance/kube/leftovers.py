# SPDX-License-Identifier: Apache-2.0
"""What runs left behind, found by its labels and removed; never anything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .errors import Conflict, Forbidden, UnknownKind
from .objects import Obj, meta
from .ownership import ANNOTATION_EXPIRES, LABEL_RUN, rfc3339

if TYPE_CHECKING:
    from .client import KubeClient

SWEPT: tuple[tuple[str, str], ...] = (
    ("networking.k8s.io/v1", "IngressClass"),
    ("gateway.networking.k8s.io/v1", "GatewayClass"),
    ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ("projectcalico.org/v3", "GlobalNetworkPolicy"),
    ("projectcalico.org/v3", "GlobalNetworkSet"),
    ("projectcalico.org/v3", "IPPool"),
    ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
    ("crd.projectcalico.org/v1", "GlobalNetworkSet"),
    ("crd.projectcalico.org/v1", "IPPool"),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
    ("cilium.io/v2", "CiliumLoadBalancerIPPool"),
    ("cilium.io/v2alpha1", "CiliumLoadBalancerIPPool"),
    ("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy"),
    ("metallb.io/v1beta1", "IPAddressPool"),
    ("metallb.io/v1beta1", "L2Advertisement"),
    ("metallb.io/v1beta1", "BGPAdvertisement"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("v1", "Namespace"),
)
"""Kinds that a run may leave outside its namespaces; the namespaces themselves come last."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that carries our label. ``expires`` is None where the annotation is missing or garbled."""

    api_version: str
    kind: str
    name: str
    namespace: str | None
    uid: str
    run_id: str
    expires: datetime | None
    deleting: bool = False

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        until = f", expires {rfc3339(self.expires)}" if self.expires else ""
        return f"{self.kind} {where} (run {self.run_id}{until})"


def find_leftovers(
    kube: KubeClient,
    *,
    run_id: str | None = None,
    expired_only: bool = True,
    now: datetime | None = None,
    kinds: Iterable[tuple[str, str]] = SWEPT,
) -> list[Leftover]:
    """Return what runs left: that of ``run_id`` if given, else what expired, or everything of ours.

    Kinds that the cluster does not serve, or that this login may not list, are passed over: what it may not
    list it has not created.
    """
    now = now or datetime.now(UTC)
    labels = {LABEL_RUN: run_id} if run_id else LABEL_RUN
    found: list[Leftover] = []
    for api_version, kind in kinds:
        try:
            objects = kube.list(api_version, kind, labels=labels) if kube.has(api_version, kind) else []
        except (Forbidden, UnknownKind):
            continue
        # A server that ignores the selector must not make us delete other people's objects.
        ours = [leftover for obj in objects if (leftover := _leftover(obj)) is not None]
        if run_id:
            found += [leftover for leftover in ours if leftover.run_id == run_id]
        else:
            found += [
                leftover
                for leftover in ours
                if not expired_only or (leftover.expires is not None and leftover.expires <= now)
            ]
    return found


def sweep(kube: KubeClient, leftovers: Iterable[Leftover]) -> list[Leftover]:
    """Ask for the deletion of ``leftovers`` and return those that go; does not wait until they are gone."""
    swept: list[Leftover] = []
    for leftover in leftovers:
        if not leftover.deleting:
            try:
                kube.delete(
                    leftover.api_version,
                    leftover.kind,
                    leftover.name,
                    leftover.namespace,
                    uid=leftover.uid or None,
                )
            except Conflict:
                continue  # another object took the name meanwhile: not the one that was found
        swept.append(leftover)
    return swept


def _leftover(obj: Obj) -> Leftover | None:
    metadata = meta(obj)
    run_id = (metadata.get("labels") or {}).get(LABEL_RUN)
    if not run_id or not metadata.get("name"):
        return None
    return Leftover(
        obj["apiVersion"],
        obj["kind"],
        metadata["name"],
        metadata.get("namespace"),
        metadata.get("uid", ""),
        run_id,
        _moment((metadata.get("annotations") or {}).get(ANNOTATION_EXPIRES)),
        bool(metadata.get("deletionTimestamp")),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
