# SPDX-License-Identifier: Apache-2.0
"""What a request path stands for, and what a request's parameters ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.kinds import Resource
from pytest_cniconformance.lab.api.rbac import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_cniconformance.lab.api.kinds import Kinds

_VERBS = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
}
_TRUE = ("true", "1", "True")


@dataclass(frozen=True, slots=True)
class Target:
    """A resource, an object or a subresource that a request is for."""

    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""

    def action(self, method: str, query: Mapping[str, str]) -> Action:
        """Return what a request does, as RBAC sees it."""
        verb = _VERBS.get(method, method.lower())
        if verb == "get" and not self.name:
            verb = "watch" if query.get("watch") in _TRUE else "list"
        elif verb == "delete" and not self.name:
            verb = "deletecollection"
        resource = self.resource
        namespace = self.namespace or ""
        if resource.plural == "namespaces" and not resource.group:
            namespace = self.name
        return Action(verb, resource.group, resource.plural, self.subresource, namespace, self.name)


def page_not_found() -> ApiError:
    """Return the 404 for a path that nothing serves."""
    text = "the server could not find the requested resource"
    return ApiError(404, "NotFound", text, details={})


def find_target(kinds: Kinds, path: str) -> Target | None:
    """Return the target of a resource path; None for any other path; raises 404 for an unknown resource."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and not _of_namespace(kinds, group, version, rest):
        namespace, rest = rest[1], rest[2:]
    resource = kinds.find(group, version, rest[0])
    if resource is None or len(rest) > 3:
        raise page_not_found()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise page_not_found()
    if resource.namespaced != (namespace is not None) and (name or not resource.namespaced):
        raise page_not_found()
    return Target(resource, namespace, name, subresource)


def _of_namespace(kinds: Kinds, group: str, version: str, rest: list[str]) -> bool:
    """Whether ``namespaces/x/status`` is the namespace's own subresource rather than a resource in it."""
    own = kinds.find(group, version, "namespaces")
    return own is not None and len(rest) == 3 and rest[2] in own.subresources


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean parameter."""
    return query.get(name) in _TRUE


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return an integer parameter, None when absent; raises 400."""
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "BadRequest", f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
