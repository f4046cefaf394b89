# SPDX-License-Identifier: Apache-2.0
"""Whether a user may do something: the stored Roles and bindings, evaluated as RBAC is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.auth import User
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

_GROUP = "rbac.authorization.k8s.io"
_SUPERUSERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to be done: on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """``pods/exec``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Authorizer:
    """Answers from the RBAC objects in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allowed(self, user: User, action: Action) -> bool:
        """Whether any rule of the user's roles covers the action."""
        if _SUPERUSERS in user.groups:
            return True
        return any(_covers(rule, action) for rule in self.rules(user, action.namespace))

    def require(self, user: User, action: Action) -> None:
        """Raise the 403 of the real API when the action is not allowed."""
        if not self.allowed(user, action):
            raise denial(user, action)

    def rules(self, user: User, namespace: str = "") -> Iterator[Obj]:
        """Yield the policy rules that apply to a user in a namespace, those of the whole cluster first."""
        for binding in self._store.list(f"clusterrolebindings.{_GROUP}"):
            if _binds(binding, user):
                yield from self._role_rules(binding["roleRef"], "")
        if namespace:
            for binding in self._store.list(f"rolebindings.{_GROUP}", namespace):
                if _binds(binding, user):
                    yield from self._role_rules(binding["roleRef"], namespace)

    def _role_rules(self, reference: Obj, namespace: str) -> list[Obj]:
        if reference["kind"] == "ClusterRole":
            role = self._store.get(f"clusterroles.{_GROUP}", None, reference["name"])
        else:
            role = self._store.get(f"roles.{_GROUP}", namespace, reference["name"])
        return list((role or {}).get("rules") or ())


def denial(user: User, action: Action) -> errors.ApiError:
    """Return the 403 for an action that a user may not do."""
    if not action.resource:
        text = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"'
        return errors.ApiError(403, "Forbidden", text, details={})
    key = f"{action.resource}.{action.group}" if action.group else action.resource
    where = f' in the namespace "{action.namespace}"' if action.namespace else " at the cluster scope"
    why = (
        f'User "{user.name}" cannot {action.verb} resource "{action.full_resource}" in API group '
        f'"{action.group}"{where}'
    )
    return errors.forbidden(key, action.name, why)


def _binds(binding: Obj, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            if user.name == f"system:serviceaccount:{namespace}:{name}":
                return True
    return False


def _covers(rule: Obj, action: Action) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and action.verb not in verbs:
        return False
    if not action.resource:
        return any(
            action.path == url or (url.endswith("*") and action.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    if "*" not in groups and action.group not in groups:
        return False
    fits = {"*", action.full_resource} | ({f"*/{action.subresource}"} if action.subresource else set())
    if not fits & set(resources):
        return False
    names = rule.get("resourceNames") or ()
    return not names or action.name in names
