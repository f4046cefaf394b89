# SPDX-License-Identifier: Apache-2.0
"""Whose object is it: every object of a run carries its id and an expiry, and only such objects are ever removed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .errors import Conflict, Forbidden, UnknownKind
from .objects import Obj, meta

if TYPE_CHECKING:
    from .client import KubeClient

LABEL_RUN = "cniconformance/run-id"
ANNOTATION_EXPIRES = "cniconformance/expires"

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

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


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


def rfc3339(moment: datetime) -> str:
    """Return ``2026-01-02T03:04:05Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def own(obj: Obj, run_id: str, ttl: float) -> Obj:
    """Return a copy of ``obj`` that carries the run's id and expires in ``ttl`` seconds.

    Raises :class:`ValueError` for a run id that is no label value (63 letters, digits, ``-``, ``_``, ``.``).
    """
    if not _LABEL_VALUE.fullmatch(run_id):
        raise ValueError(f"run id {run_id!r} cannot be a label value")
    owned = copy.deepcopy(obj)
    metadata = owned.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL_RUN: run_id}
    expires = rfc3339(datetime.now(UTC) + timedelta(seconds=ttl))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION_EXPIRES: expires}
    return owned


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


def sweep(
    kube: KubeClient,
    *,
    run_id: str | None = None,
    expired_only: bool = True,
    now: datetime | None = None,
    kinds: Iterable[tuple[str, str]] = SWEPT,
) -> list[Leftover]:
    """Ask for the deletion of what :func:`find_leftovers` finds and return it; does not wait until it is gone."""
    swept: list[Leftover] = []
    for leftover in find_leftovers(kube, run_id=run_id, expired_only=expired_only, now=now, kinds=kinds):
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
