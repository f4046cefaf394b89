# SPDX-License-Identifier: Apache-2.0
"""Watches that outlive what happens to watches: closed, cut or silent streams, expired versions, errors."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .errors import Call, Gone, KubeError, ServerError, TooManyRequests, Unreachable, from_response
from .listing import Scope, list_all
from .objects import Obj, meta
from .retry import Backoff

if TYPE_CHECKING:
    from .lines import Lines
    from .transport import Transport

SYNCED = "SYNCED"
"""Not an API event: the list is complete, what follows are changes. Its object is empty."""

_SERVER_SECONDS = 290
# A stream without a sound for so long may be a dead connection; asking again costs one request.
_SILENCE_SECONDS = 45.0

Event = tuple[str, Obj]


class Follower:
    """Events of one set of objects, from a list or a resource version until a deadline."""

    def __init__(
        self, transport: Transport, scope: Scope, *, resource_version: str | None, timeout: float
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._call = scope.call("watch")
        self._version = resource_version
        self._known: dict[tuple[str, str], Obj] = {}
        self._deadline = time.monotonic() + timeout
        self._failing: Backoff | None = None
        self.failure: KubeError | None = None
        """Why the last request failed, None since one worked."""
        self._hasty = Backoff(math.inf, transport.stop)  # paces the requests; what ends them is the deadline

    @property
    def _remaining(self) -> float:
        return self._deadline - time.monotonic()

    def events(self) -> Iterator[Event]:
        """Yield ``(type, object)`` until the deadline; :data:`SYNCED` follows every list.

        Raises :class:`KubeError` when the API refuses the watch, or fails for longer than
        ``Timeouts.retry_for`` without a break.
        """
        while self._remaining > 0 and not self._transport.stop.is_set():
            try:
                if self._version is None:
                    yield from self._relist()
                yield from self._stream()
            except Gone:
                self._version = None
                self._hasty.pause(at_most=self._remaining)
            except (Unreachable, ServerError, TooManyRequests) as failure:
                if not self._try_later(failure):
                    raise

    def _try_later(self, failure: KubeError) -> bool:
        self.failure = failure
        if self._failing is None:
            self._failing = self._transport.backoff()
        return self._failing.pause(failure.retry_after, at_most=self._remaining) or self._remaining <= 0

    def _worked(self) -> None:
        self._failing = self.failure = None

    def _relist(self) -> Iterator[Event]:
        """List, and yield the difference to what is known: a watch that lost its place misses nothing."""
        items, self._version = list_all(self._transport, self._scope, within=self._remaining)
        self._worked()
        present = {_key(item): item for item in items}
        for key, old in list(self._known.items()):
            new = present.get(key)
            if new is None or meta(new).get("uid") != meta(old).get("uid"):
                del self._known[key]
                yield "DELETED", old
        for key, new in present.items():
            seen = self._known.get(key)
            self._known[key] = new
            if seen is None:
                yield "ADDED", new
            elif meta(seen).get("resourceVersion") != meta(new).get("resourceVersion"):
                yield "MODIFIED", new
        yield SYNCED, {}

    def _stream(self) -> Iterator[Event]:
        remaining = max(self._remaining, 0.1)
        query: dict[str, Any] = {
            **self._scope.query(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": math.ceil(min(remaining, _SERVER_SECONDS)),
        }
        started, delivered = time.monotonic(), False
        idle = min(remaining, _SILENCE_SECONDS)
        with self._transport.lines(self._call, self._scope.path, query, idle=idle) as lines:
            for event in self._decoded(lines):
                delivered = True
                self._worked()
                yield event
                if self._remaining <= 0:
                    return
                lines.limit(min(self._remaining, _SILENCE_SECONDS))
        self._worked()
        if delivered:
            self._hasty.reset()
        elif time.monotonic() - started < 1.0:
            # A server that closes at once is asked again, but not in a busy loop.
            self._hasty.pause(at_most=self._remaining)

    def _decoded(self, lines: Lines) -> Iterator[Event]:
        for line in lines:
            try:
                event = json.loads(line)
                kind, obj = event["type"], event["object"]
            except (ValueError, KeyError, TypeError):
                return  # garbled: start again from the last version that was understood
            if kind == "ERROR":
                raise _event_error(self._call, obj)
            self._version = meta(obj).get("resourceVersion") or self._version
            if kind == "BOOKMARK":
                continue
            if kind == "DELETED":
                self._known.pop(_key(obj), None)
            else:
                self._known[_key(obj)] = obj
            yield kind, obj


def _key(obj: Obj) -> tuple[str, str]:
    metadata = meta(obj)
    return metadata.get("namespace", ""), metadata.get("name", "")


def _event_error(call: Call, status: Obj) -> KubeError:
    code = status.get("code")
    error = from_response(call, code if isinstance(code, int) else 500, json.dumps(status).encode())
    if status.get("reason") in ("Expired", "Gone"):
        return Gone(call, error.message, status=410, reason=error.reason)
    return error
