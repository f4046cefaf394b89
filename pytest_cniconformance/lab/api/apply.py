# SPDX-License-Identifier: Apache-2.0
"""Server-side apply: merging a configuration into an object, who owns which field, conflicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.fieldsets import (
    Tree,
    changed,
    difference,
    element_key,
    intersection,
    list_type,
    owned_fields,
    paths,
    union,
)
from pytest_cniconformance.lab.api.objects import clone

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.schemas import Schema, Schemas

# kubectl moves what its client-side apply wrote to its server-side manager: never a conflict between the two.
_SAME = {"kubectl": ("kubectl-client-side-apply", "kubectl-last-applied")}


_NOTED_LIMIT = 32


class Manager(NamedTuple):
    """Who owns fields, and how it came to: by ``Apply`` or by ``Update``."""

    name: str
    operation: str


class Ownership:
    """Which manager owns which fields of which object, kept beside the objects (``managedFields`` stay hidden)."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._by_uid: dict[str, dict[Manager, Tree]] = {}
        self._noted: dict[str, list[tuple[Obj | None, Obj, Schema, str]]] = {}  # writes not taken in yet

    def forget(self, obj: Obj) -> None:
        """Drop what is known of a deleted object."""
        self._by_uid.pop(obj["metadata"]["uid"], None)
        self._noted.pop(obj["metadata"]["uid"], None)

    def record_update(self, old: Obj | None, new: Obj, schema: Schema, manager: str) -> None:
        """Note a create (``old`` is None) or an update: its writer now owns what it changed.

        Which fields these are is worked out when somebody applies to the object: most objects never see that.
        """
        noted = self._noted.setdefault(new["metadata"]["uid"], [])
        noted.append((old, new, schema, manager))
        if len(noted) >= _NOTED_LIMIT:
            self._owners(new)

    def _owners(self, obj: Obj) -> dict[Manager, Tree]:
        """Return the owners of an object's fields, with all noted writes taken in."""
        uid = obj["metadata"]["uid"]
        known = self._by_uid.setdefault(uid, {})
        for old, new, schema, manager in self._noted.pop(uid, ()):
            if old is None:
                fields = owned_fields(new, schema, self._schemas)
            else:
                fields = owned_fields_of(changed(old, new, schema, self._schemas))
            _take_over(known, Manager(manager, "Update"), fields)
            if fields:
                known[Manager(manager, "Update")] = union(known.get(Manager(manager, "Update"), {}), fields)
        return known

    def record_apply(self, obj: Obj, fields: Tree, manager: str, *, force: bool) -> None:
        """Note a successful apply."""
        known = self._owners(obj)
        me = Manager(manager, "Apply")
        if force:
            _take_over(known, me, fields)
        known[me] = fields

    def merge(self, live: Obj, config: Obj, schema: Schema, manager: str, *, force: bool) -> tuple[Obj, Tree]:
        """Return the object after an apply and the fields that the manager then owns; raises Conflict.

        Fields that the manager applied before and no longer does are removed, unless another one owns them too.
        """
        fields = owned_fields(config, schema, self._schemas)
        known = self._owners(live)
        me = Manager(manager, "Apply")
        merged = merge_config(live, config, schema, self._schemas)
        touched = intersection(owned_fields_of(changed(live, merged, schema, self._schemas)), fields)
        conflicts = {
            other: overlap
            for other, theirs in known.items()
            if other != me
            and other.name not in _SAME.get(manager, ())
            and (overlap := intersection(touched, theirs))
        }
        if conflicts and not force:
            raise _conflict(conflicts, str(live.get("apiVersion", "")))
        dropped = difference(known.get(me, {}), fields)
        for other in (one for one in known if one != me):
            dropped = difference(dropped, known[other])
        if dropped:
            merged = _remove(merged, dropped, schema, self._schemas)
        return merged, fields


def _take_over(known: dict[Manager, Tree], winner: Manager, fields: Tree) -> None:
    """Take fields away from every manager but one."""
    for other in [one for one in known if one != winner]:
        known[other] = difference(known[other], fields)
        if not known[other]:
            del known[other]


def owned_fields_of(tree: Tree) -> Tree:
    """Return a set of changed paths without the parts of the metadata that the server writes."""
    kept = {step: below for step, below in tree.items() if step not in ("f:apiVersion", "f:kind")}
    metadata = kept.get("f:metadata")
    if metadata:
        own = {
            step: below
            for step, below in metadata.items()
            if step in ("f:labels", "f:annotations", "f:finalizers")
        }
        kept = {**kept, "f:metadata": own} if own else {s: b for s, b in kept.items() if s != "f:metadata"}
    return kept


def merge_config(live: Any, config: Any, schema: Schema, schemas: Schemas) -> Any:
    """Return ``live`` with the applied configuration laid over it, by the schema's list and map types."""
    annotated, schema = schema, schemas.resolve(schema)
    if isinstance(live, dict) and isinstance(config, dict):
        if "atomic" in (schema.get("x-kubernetes-map-type"), annotated.get("x-kubernetes-map-type")):
            return clone(config)
        merged = dict(live)
        for key, value in config.items():
            below = schemas.child(schema, key) or {}
            merged[key] = merge_config(live[key], value, below, schemas) if key in live else clone(value)
        return merged
    if isinstance(live, list) and isinstance(config, list) and list_type(annotated) in ("map", "set"):
        items = schemas.items(schema)
        present = {element_key(item, annotated): item for item in live}
        wanted = {element_key(item, annotated): item for item in config}
        kept = [merge_config(item, wanted.get(step, item), items, schemas) for step, item in present.items()]
        return kept + [clone(item) for step, item in wanted.items() if step not in present]
    return clone(config)


def _remove(value: Any, tree: Tree, schema: Schema, schemas: Schemas) -> Any:
    annotated, schema = schema, schemas.resolve(schema)
    if isinstance(value, dict):
        rest = dict(value)
        for step, below in tree.items():
            key = step[2:]
            if key not in rest:
                continue
            if not below:
                del rest[key]
            else:
                rest[key] = _remove(rest[key], below, schemas.child(schema, key) or {}, schemas)
                if rest[key] in ({}, []):
                    del rest[key]
        return rest
    if isinstance(value, list):
        items = schemas.items(schema)
        rest_list = []
        for item in value:
            below = tree.get(element_key(item, annotated))
            if below is None:
                rest_list.append(item)
            elif below and "." not in below:
                rest_list.append(_remove(item, below, items, schemas))
        return rest_list
    return value


def _conflict(conflicts: dict[Manager, Tree], api_version: str) -> errors.ApiError:
    causes = []
    texts = []
    for manager, overlap in sorted(conflicts.items()):
        found = list(paths(overlap))
        using = f" using {api_version}" if manager.operation == "Update" else ""
        causes += [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{manager.name}"{using}',
                "field": field,
            }
            for field in found
        ]
        if len(found) == 1:
            texts.append(f'conflict with "{manager.name}"{using}: {found[0]}')
        else:
            texts.append(f'conflicts with "{manager.name}"{using}:\n- ' + "\n- ".join(found))
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    message = f"Apply failed with {count}: " + "\n".join(texts)
    return errors.ApiError(409, "Conflict", message, details={"causes": causes})
