# SPDX-License-Identifier: Apache-2.0
"""Selecting and paging: what a list or a watch request asks for."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.objects import name_of, namespace_of
from pytest_cniconformance.lab.api.paths import number
from pytest_cniconformance.lab.api.selectors import parse_fields, parse_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.paths import Target
    from pytest_cniconformance.lab.api.store import Store

_SNAPSHOTS = 64  # lists being paged at once; the oldest is forgotten first

_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
    "the results. Continuing with the provided token results in an inconsistent list."
)


class Page(NamedTuple):
    """One page of a list: what is left after it is under ``token``."""

    objects: list[Obj]
    version: str
    token: str
    remaining: int | None


class Snapshots:
    """The rest of lists that clients read page by page, so that all pages are of one moment."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[list[Obj], str]] = OrderedDict()

    def first(self, objects: list[Obj], version: str, limit: int | None) -> Page:
        """Return the first page of a list."""
        return self._page(objects, version, limit)

    def next(self, token: str, limit: int | None) -> Page:
        """Return the page that a token stands for; raises 410 when it is no longer kept, 400 for nonsense."""
        try:
            key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"]
        except (ValueError, binascii.Error, KeyError, TypeError):
            raise errors.bad_request("continue key is not valid: illegal base64 data") from None
        if key not in self._kept:
            raise errors.expired(_EXPIRED)
        objects, version = self._kept[key]
        return self._page(objects, version, limit)

    def _page(self, objects: list[Obj], version: str, limit: int | None) -> Page:
        if not limit or len(objects) <= limit:
            return Page(objects, version, "", None)
        rest = objects[limit:]
        key = secrets.token_hex(8)
        self._kept[key] = (rest, version)
        if len(self._kept) > _SNAPSHOTS:
            self._kept.popitem(last=False)
        text = json.dumps({"v": "meta.k8s.io/v1", "rv": int(version), "start": key}).encode()
        return Page(objects[:limit], version, base64.urlsafe_b64encode(text).rstrip(b"=").decode(), len(rest))


def selection(target: Target, query: Mapping[str, str]) -> Callable[[Obj], bool] | None:
    """Return the predicate of a request's selectors, None when it has none; raises 400."""
    checks: list[Callable[[Obj], bool]] = []
    if text := query.get("labelSelector"):
        by_labels = parse_labels(text)
        checks.append(lambda obj: by_labels(obj["metadata"].get("labels") or {}))
    if text := query.get("fieldSelector"):
        checks.append(parse_fields(text, target.resource.key, custom=target.resource.custom))
    if target.name:
        checks.append(lambda obj: name_of(obj) == target.name)
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda obj: all(check(obj) for check in checks)


def in_scope(target: Target) -> Callable[[Obj], bool]:
    """Return whether an object lies in the namespace that a request is for."""
    if target.namespace is None:
        return lambda obj: True
    return lambda obj: namespace_of(obj) == target.namespace


def select(store: Store, target: Target, query: Mapping[str, str]) -> list[Obj]:
    """Return the objects that a list request is for."""
    objects = store.list(target.resource.key, target.namespace)
    check = selection(target, query)
    return objects if check is None else [obj for obj in objects if check(obj)]


def page(snapshots: Snapshots, store: Store, target: Target, query: Mapping[str, str]) -> Page:
    """Return the page that a list request asks for."""
    limit = number(query, "limit")
    if token := query.get("continue"):
        return snapshots.next(token, limit)
    number(query, "resourceVersion")  # must be a number; every list is of the newest state
    return snapshots.first(select(store, target, query), str(store.version), limit)
