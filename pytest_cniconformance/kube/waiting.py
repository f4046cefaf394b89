# SPDX-License-Identifier: Apache-2.0
"""Wait for objects by one list and one watch; on a timeout say what was there instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from .errors import Call, KubeError, WaitTimeout, one_line
from .listing import Scope, list_all
from .objects import Obj, Resource, describe, meta, selector
from .state import events_text, state
from .watch import SYNCED, Follower

if TYPE_CHECKING:
    from .transport import Transport

_SHOWN = 3


class Waiter:
    """One wait: a set of objects, a deadline in seconds, and what is awaited, in words.

    ``events`` finds the resource of Events, asked for only when the wait was in vain.
    """

    def __init__(
        self,
        transport: Transport,
        scope: Scope,
        *,
        events: Callable[[], Resource],
        timeout: float,
        what: str,
    ) -> None:
        self._event_resource = events
        self._transport = transport
        self._scope = scope
        self._timeout = timeout
        self._what = what
        self._present: dict[str, Obj] = {}
        self._follower = Follower(transport, scope, resource_version=None, timeout=timeout)

    def first(self, predicate: Callable[[Obj | None], bool], name: str | None) -> Obj:
        """Return the first object that ``predicate`` accepts, ``{}`` if it accepts that there is none."""
        for obj in self._changes():
            if obj is not None and predicate(obj):
                return obj
            if not self._present and predicate(None):
                return {}
        shown = {name: self._present.get(f"{self._scope.namespace or ''}/{name}")} if name else self._present
        raise self._timed_out(dict(shown))

    def every(self, predicate: Callable[[Obj], bool], names: Collection[str]) -> dict[str, Obj]:
        """Return the named objects once all of them satisfy ``predicate`` at the same time."""
        if not names:
            return {}
        wanted = {f"{self._scope.namespace or ''}/{name}": name for name in names}
        satisfied: dict[str, Obj] = {}
        for _ in self._changes():
            satisfied = {
                name: self._present[key]
                for key, name in wanted.items()
                if key in self._present and predicate(self._present[key])
            }
            if len(satisfied) == len(wanted):
                return satisfied
        missing = {name: self._present.get(key) for key, name in wanted.items() if name not in satisfied}
        raise self._timed_out(dict(missing), of=len(wanted))

    def _changes(self) -> Iterator[Obj | None]:
        """Yield each object that came or changed; None once the list is complete or an object went."""
        synced = False
        for kind, obj in self._follower.events():
            key = f"{meta(obj).get('namespace', '')}/{meta(obj).get('name', '')}"
            if kind == SYNCED:
                synced = True
                yield None
            elif kind == "DELETED":
                self._present.pop(key, None)
                if synced:
                    yield None
            else:
                self._present[key] = obj
                yield obj
        if not synced and self._follower.failure is not None:
            raise self._follower.failure

    def _timed_out(self, unsatisfied: dict[str, Obj | None], of: int = 0) -> WaitTimeout:
        scope = self._scope
        chosen = selector(scope.labels) or (None if unsatisfied else selector(scope.fields))
        target = describe(scope.resource.kind, None, scope.namespace) + (f" ({chosen})" if chosen else "")
        if len(unsatisfied) == 1:
            name = next(iter(unsatisfied)).rpartition("/")[2]
            target = describe(scope.resource.kind, name, scope.namespace)
        lines = [
            f"{name.rpartition('/')[2]}: {self._state(obj)}"
            for name, obj in list(unsatisfied.items())[:_SHOWN]
        ]
        if len(unsatisfied) == 1:
            seen = lines[0].partition(": ")[2]
        elif unsatisfied:
            more = len(unsatisfied) - _SHOWN
            count = f"{len(unsatisfied)} of {of} are not there yet: " if of else ""
            seen = count + " | ".join(lines) + (f" | and {more} more" if more > 0 else "")
        else:
            seen = "no such object exists"
        message = f"waited {self._timeout:g} s for {self._what}; last seen: {seen}"
        if self._follower.failure is not None:
            message += f" (and the API failed last: {self._follower.failure.message})"
        return WaitTimeout(Call("wait for", target, scope.resource.full_name, scope.namespace), message)

    def _state(self, obj: Obj | None) -> str:
        text = state(obj)
        if obj and obj.get("kind") == "Pod":
            events = self._events(obj)
            text += f"; events: {events}" if events else ""
        return one_line(text)

    def _events(self, obj: Obj) -> str:
        """Return what the cluster noted about ``obj``; empty where that cannot be read."""
        namespace = meta(obj).get("namespace")
        fields = {
            "involvedObject.name": meta(obj).get("name", ""),
            "involvedObject.kind": obj.get("kind", ""),
        }
        try:
            scope = Scope(self._event_resource(), namespace, None, fields)
            return events_text(list_all(self._transport, scope)[0])
        except KubeError:
            return ""
