# SPDX-License-Identifier: Apache-2.0
"""Admission of new objects: the life cycle of namespaces, ServiceAccounts of pods, Pod Security."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api import errors, pod_security
from pytest_cniconformance.lab.api.defaults_pod import admit_pod_spec
from pytest_cniconformance.lab.api.objects import name_of, namespace_of

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Resource
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as upstream: no vowels, so no words


def random_suffix() -> str:
    """Return the five characters that make a generated name unique."""
    return "".join(random.choices(_ALPHABET, k=5))


def require_namespace(store: Store, resource: Resource, obj: Obj) -> None:
    """Refuse to create an object in a namespace that is absent or on its way out."""
    name = namespace_of(obj)
    namespace = store.get("namespaces", None, name)
    if namespace is None:
        raise errors.not_found("namespaces", name)
    if namespace["metadata"].get("deletionTimestamp"):
        text = f"unable to create new content in namespace {name} because it is being terminated"
        refused = errors.forbidden(resource.key, name_of(obj), text)
        (refused.details or {})["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise refused


def admit_pod(store: Store, pod: Obj, warnings: list[str]) -> None:
    """Complete a new Pod as the admission plugins do, in place; raises Forbidden."""
    spec, namespace = pod["spec"], namespace_of(pod)
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    account = store.get("serviceaccounts", namespace, name)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden("pods", name_of(pod), why)
    automount = account.get("automountServiceAccountToken") is not False
    admit_pod_spec(spec, random_suffix(), automount=automount)
    _check_pod_security(store, pod, warnings)


def _check_pod_security(store: Store, pod: Obj, warnings: list[str]) -> None:
    namespace = store.get("namespaces", None, namespace_of(pod)) or {}
    labels = namespace.get("metadata", {}).get("labels") or {}
    for mode in ("enforce", "warn"):
        level = labels.get(pod_security.PREFIX + mode, "privileged")
        version = labels.get(f"{pod_security.PREFIX}{mode}-version", "latest")
        text = pod_security.message(pod["spec"], level, version)
        if text and mode == "enforce":
            raise errors.forbidden("pods", name_of(pod), f"violates {text}")
        if text:
            warnings.append(f"would violate {text}")
