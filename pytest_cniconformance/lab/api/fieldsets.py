# SPDX-License-Identifier: Apache-2.0
"""Sets of field paths as trees, the way ``managedFields`` writes them: what server-side apply reasons about.

A set is a nested dict: ``f:name`` steps into a field, ``k:{...}`` into the list element with these keys, ``v:...``
to a member of a set; an empty dict is a member of the set and ends the path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.objects import SERVER_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_cniconformance.lab.api.schemas import Schema, Schemas

Tree = dict[str, Any]

# Fields that identify the object or that the server owns are nobody's to apply.
_UNOWNED = ("apiVersion", "kind")
_UNOWNED_METADATA = ("name", "generateName", "namespace", *SERVER_FIELDS)
_KEY_DEFAULTS = {"protocol": "TCP"}


def list_type(schema: Schema) -> str:
    """Return ``map``, ``set`` or ``atomic``."""
    return str(schema.get("x-kubernetes-list-type", "atomic"))


def element_key(item: Any, schema: Schema) -> str:
    """Return the path step of a list element."""
    if list_type(schema) == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    keys = schema.get("x-kubernetes-list-map-keys", ())
    values = {key: item.get(key, _KEY_DEFAULTS.get(key, "")) for key in sorted(keys)}
    return "k:" + json.dumps(values, separators=(",", ":"))


def owned_fields(obj: Any, schema: Schema, schemas: Schemas) -> Tree:
    """Return the set of an object's fields that a manager can own."""
    tree = _tree(obj, schema, schemas)
    for step in _UNOWNED:
        tree.pop(f"f:{step}", None)
    metadata = tree.get("f:metadata", {})
    for name in _UNOWNED_METADATA:
        metadata.pop(f"f:{name}", None)
    if not metadata:
        tree.pop("f:metadata", None)
    return tree


def _tree(value: Any, schema: Schema, schemas: Schemas) -> Tree:
    annotated, schema = schema, schemas.resolve(schema)
    if isinstance(value, dict):
        if "atomic" in (schema.get("x-kubernetes-map-type"), annotated.get("x-kubernetes-map-type")):
            return {}
        return {
            f"f:{key}": _tree(item, below, schemas)
            for key, item in value.items()
            if (below := schemas.child(schema, key)) is not None
        }
    if isinstance(value, list) and list_type(annotated) in ("map", "set"):
        items = schemas.items(schema)
        if list_type(annotated) == "set":
            return {element_key(item, annotated): {} for item in value}
        return {element_key(item, annotated): {".": {}} | _tree(item, items, schemas) for item in value}
    return {}


def union(left: Tree, right: Tree) -> Tree:
    """Return the paths in either set."""
    merged = dict(left)
    for step, below in right.items():
        merged[step] = union(merged[step], below) if step in merged else below
    return merged


def difference(left: Tree, right: Tree) -> Tree:
    """Return the paths of ``left`` that are not in ``right``."""
    rest: Tree = {}
    for step, below in left.items():
        if step not in right:
            rest[step] = below
        elif below and (remaining := difference(below, right[step])):
            rest[step] = remaining
    return rest


def intersection(left: Tree, right: Tree) -> Tree:
    """Return the paths in both sets."""
    both: Tree = {}
    for step in left.keys() & right.keys():
        if not left[step] and not right[step]:
            both[step] = {}
        elif below := intersection(left[step], right[step]):
            both[step] = below
    return both


def paths(tree: Tree, prefix: str = "") -> Iterator[str]:
    """Yield the paths of a set as messages write them: ``.spec.ports[port=80,protocol="TCP"].name``."""
    for step, below in sorted(tree.items()):
        if step == ".":
            yield prefix
            continue
        kind, text = step[:2], step[2:]
        if kind == "f:":
            at = f"{prefix}.{text}"
        elif kind == "k:":
            keys = ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(text).items())
            at = f"{prefix}[{keys}]"
        else:
            at = f"{prefix}[={text}]"
        if below:
            yield from paths(below, at)
        else:
            yield at


def changed(old: Any, new: Any, schema: Schema, schemas: Schemas) -> Tree:
    """Return the paths of ``new`` whose value is absent from ``old`` or another one."""
    if old == new:
        return {}
    annotated, schema = schema, schemas.resolve(schema)
    if isinstance(old, dict) and isinstance(new, dict):
        if "atomic" in (schema.get("x-kubernetes-map-type"), annotated.get("x-kubernetes-map-type")):
            return {".": {}}
        found: Tree = {}
        for key, value in new.items():
            below = schemas.child(schema, key)
            if below is None:
                continue
            if key not in old:
                found[f"f:{key}"] = _tree(value, below, schemas)
            elif old[key] != value:
                deeper = changed(old[key], value, below, schemas)
                if deeper:
                    found[f"f:{key}"] = {} if "." in deeper else deeper
        return found
    if isinstance(old, list) and isinstance(new, list) and list_type(annotated) in ("map", "set"):
        items = schemas.items(schema)
        before = {element_key(item, annotated): item for item in old}
        found = {}
        for item in new:
            step = element_key(item, annotated)
            if step not in before:
                found[step] = {".": {}} | _tree(item, items, schemas) if list_type(annotated) == "map" else {}
            elif before[step] != item and (deeper := changed(before[step], item, items, schemas)):
                found[step] = deeper
        return found
    return {".": {}}
