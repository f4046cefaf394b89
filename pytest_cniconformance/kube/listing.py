# SPDX-License-Identifier: Apache-2.0
"""Lists of any length, read in pages, consistent even where a page token expires half-way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import Call, Gone, ServerError
from .objects import Obj, Resource, Selector, describe, selector

if TYPE_CHECKING:
    from .transport import Transport

PAGE = 500
_PAGED_TRIES = 2


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of objects of one kind: namespace (None is all), label and field selectors."""

    resource: Resource
    namespace: str | None = None
    labels: Selector = None
    fields: Selector = None

    @property
    def path(self) -> str:
        """The URL path of the collection."""
        return self.resource.path(self.namespace)

    def query(self) -> dict[str, Any]:
        """Return the selectors as query parameters."""
        return {"labelSelector": selector(self.labels), "fieldSelector": selector(self.fields)}

    def call(self, verb: str) -> Call:
        """Return ``verb`` on these objects, for messages."""
        target = describe(self.resource.kind, None, self.namespace)
        return Call(verb, target, self.resource.full_name, self.namespace)


def list_all(transport: Transport, scope: Scope, *, within: float | None = None) -> tuple[list[Obj], str]:
    """Return all objects of ``scope`` and the resource version that they are a picture of.

    ``within`` bounds each request and its retries, in seconds, where a deadline comes before the usual ones.
    A page token that expires (410) restarts the list; at last it is asked for in one piece, which cannot expire.
    """
    for attempt in range(_PAGED_TRIES + 1):
        try:
            return _pages(transport, scope, PAGE if attempt < _PAGED_TRIES else None, within)
        except Gone:
            if attempt == _PAGED_TRIES:
                raise
    raise AssertionError("unreachable")


def _pages(
    transport: Transport, scope: Scope, limit: int | None, within: float | None
) -> tuple[list[Obj], str]:
    retry_for, timeout = transport.timeouts.retry_for, transport.timeouts.request
    if within is not None:
        retry_for, timeout = min(retry_for, within), min(timeout, within)
    items: list[Obj] = []
    call = scope.call("list")
    token: str | None = None
    while True:
        query = {**scope.query(), "limit": limit, "continue": token}
        document = transport.request(
            call, "GET", scope.path, query=query, retry_for=retry_for, timeout=timeout
        ).document(call)
        if "items" not in document:
            raise ServerError(call, "the answer is not a list of objects")
        # Items of a list carry neither apiVersion nor kind; everything above expects both.
        items += [
            {"apiVersion": scope.resource.api_version, "kind": scope.resource.kind} | item
            for item in document["items"] or []
        ]
        metadata = document.get("metadata") or {}
        token = metadata.get("continue") or None
        if token is None:
            return items, metadata.get("resourceVersion") or ""
