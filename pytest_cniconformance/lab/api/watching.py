# SPDX-License-Identifier: Apache-2.0
"""Watch requests: a stream of events, one JSON document a line."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from aiohttp import web

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.lists import in_scope, selection
from pytest_cniconformance.lab.api.objects import encode, encoded
from pytest_cniconformance.lab.api.paths import flag, number
from pytest_cniconformance.lab.api.responses import JSON, as_served, wants_table
from pytest_cniconformance.lab.api.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.paths import Target
    from pytest_cniconformance.lab.api.server import Call
    from pytest_cniconformance.lab.api.store import Event, Subscription

BOOKMARK_SECONDS = 60.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


class _Feed:
    """Turns store events into the lines that one watcher shall see."""

    def __init__(self, call: Call, target: Target) -> None:
        self.target = target
        self.selected = selection(target, call.request.query)
        self.in_scope = in_scope(target)
        self.as_table = wants_table(call.request.headers.get("Accept", ""))
        self.include = call.request.query.get("includeObject", "Metadata")

    def line(self, event: Event) -> bytes:
        """Return the line for an event; empty when the watcher is not concerned."""
        obj, old, kind = event.object, event.old, event.type
        if not self.in_scope(obj):
            return b""
        if self.selected is not None:
            now, before = self.selected(obj), old is not None and self.selected(old)
            if kind == "DELETED":
                if not before:
                    return b""
            elif now:
                kind = "MODIFIED" if before else "ADDED"
            elif before:
                kind = "DELETED"
            else:
                return b""
        return self.format(kind, obj)

    def format(self, kind: str, obj: Obj) -> bytes:
        """Return one event's line."""
        resource = self.target.resource
        if self.as_table:
            version = obj["metadata"]["resourceVersion"]
            data = encode(table(resource, [obj], version, include=self.include))
        else:
            data = encoded(as_served(obj, resource))
        return b'{"type":"' + kind.encode() + b'","object":' + data + b"}\n"

    def up_to_now(self, subscription: Subscription, version: int) -> bytes:
        """Return the lines of what is pending and then a bookmark: who begins again there must have seen it all."""
        return b"".join(map(self.line, subscription.take())) + self.bookmark(version)

    def bookmark(self, version: int, annotations: dict[str, str] | None = None) -> bytes:
        """Return a BOOKMARK line."""
        metadata: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        resource = self.target.resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return b'{"type":"BOOKMARK","object":' + encode(obj) + b"}\n"


async def watch(call: Call, target: Target) -> web.StreamResponse:
    """Answer a watch request until its time is over or the client leaves."""
    query = call.request.query
    feed = _Feed(call, target)
    since = number(query, "resourceVersion") or None
    initial = flag(query, "sendInitialEvents")
    bookmarks = flag(query, "allowWatchBookmarks")
    seconds = number(query, "timeoutSeconds") or random.randint(1800, 3600)
    response = web.StreamResponse(headers={"Content-Type": JSON})
    response.enable_chunked_encoding()
    store = call.server.store
    try:
        subscription = store.subscribe(target.resource.key, since=None if initial else since)
    except ApiError as error:  # too old: told in the stream, as the real API's watch cache does
        await response.prepare(call.request)
        await response.write(b'{"type":"ERROR","object":' + encode(error.status()) + b"}\n")
        return response
    with subscription:
        await response.prepare(call.request)
        lines = b"".join(map(feed.line, subscription.take()))
        if initial and bookmarks:
            lines += feed.bookmark(store.version, _INITIAL_END)
        if lines:
            await response.write(lines)
        try:
            async with asyncio.timeout(seconds):
                while await _step(subscription, response, feed, bookmarks, lambda: store.version):
                    pass
        except TimeoutError:
            pass
        except ConnectionError:
            return response  # the client left
        if bookmarks:
            await response.write(feed.up_to_now(subscription, store.version))
    return response


async def _step(
    subscription: Subscription,
    response: web.StreamResponse,
    feed: _Feed,
    bookmarks: bool,
    version: Callable[[], int],
) -> bool:
    """Send the next events, or a bookmark after a quiet while; False when the subscription has ended."""
    try:
        async with asyncio.timeout(BOOKMARK_SECONDS):
            events = await subscription.batch()
    except TimeoutError:
        if bookmarks:
            await response.write(feed.up_to_now(subscription, version()))
        return True
    if lines := b"".join(map(feed.line, events)):
        await response.write(lines)
    return bool(events)
