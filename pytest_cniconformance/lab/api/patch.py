# SPDX-License-Identifier: Apache-2.0
"""Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.objects import clone

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.schemas import Schema, Schemas

_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


class PatchFailed(Exception):
    """A JSON patch operation does not fit the document."""


def json_patch(document: Any, operations: Any) -> Any:
    """Return the document with RFC 6902 operations applied; raises ``ApiError`` 400 or 422."""
    if not isinstance(operations, list):
        raise errors.bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    patched = clone(document)
    try:
        for operation in operations:
            patched = _operate(patched, operation)
    except PatchFailed as failure:
        text = f"the server rejected our request due to an error in our request: {failure}"
        raise errors.ApiError(422, "Invalid", text, details={}) from None
    except (KeyError, TypeError, IndexError, ValueError) as failure:
        raise errors.bad_request(f"invalid JSON patch: {failure}") from None
    return patched


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation["op"], _pointer(operation["path"])
    if kind == "test":
        if _lookup(document, path) != operation.get("value"):
            raise PatchFailed(f"testing value {operation['path']} failed: test failed")
        return document
    if kind in ("move", "copy"):
        source = _pointer(operation["from"])
        value = clone(_lookup(document, source))
        if kind == "move":
            document = _edit(document, source, "remove", None)
        return _edit(document, path, "add", value)
    if kind in ("add", "remove", "replace"):
        return _edit(document, path, kind, clone(operation.get("value")))
    raise PatchFailed(f"Unexpected kind: {kind}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise PatchFailed(f"invalid path {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _lookup(document: Any, path: list[str]) -> Any:
    for step in path:
        try:
            document = document[int(step)] if isinstance(document, list) else document[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise PatchFailed(f"unable to find path /{'/'.join(path)}") from None
    return document


def _edit(document: Any, path: list[str], kind: str, value: Any) -> Any:
    if not path:
        return value
    holder, last = _lookup(document, path[:-1]), path[-1]
    where = "/" + "/".join(path)
    if isinstance(holder, list):
        index = len(holder) if last == "-" else int(last)
        if index > len(holder) or (kind != "add" and index >= len(holder)):
            raise PatchFailed(f"{kind} operation does not apply: doc is missing path: {where}: invalid index")
        if kind == "add":
            holder.insert(index, value)
        elif kind == "replace":
            holder[index] = value
        else:
            del holder[index]
    elif isinstance(holder, dict):
        if kind != "add" and last not in holder:
            raise PatchFailed(f"{kind} operation does not apply: doc is missing key: {where}: missing value")
        if kind == "remove":
            del holder[last]
        else:
            holder[last] = value
    else:
        raise PatchFailed(f"{kind} operation does not apply: doc is missing path: {where}")
    return document


def merge_patch(document: Any, patch: Any) -> Any:
    """Return the document with an RFC 7386 merge patch applied."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge(document: Any, patch: Any, schema: Schema, schemas: Schemas) -> Any:
    """Return the document with a strategic merge patch applied, by the schema's merge keys."""
    if not isinstance(patch, dict) or not isinstance(document, dict):
        return _bare(patch)
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return _bare(patch)
    if directive == "delete":
        return {}
    schema = schemas.resolve(schema)
    merged = dict(document)
    if (retained := patch.get(_RETAIN)) is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            field = key.removeprefix(_DELETE_FROM)
            merged[field] = [one for one in merged.get(field, ()) if one not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            below = schemas.child(schema, key) or {}
            merged[key] = _merge_list(merged.get(key), value, below, schemas)
        else:
            below = schemas.child(schema, key) or {}
            merged[key] = strategic_merge(merged.get(key), value, below, schemas)
    for key, order in patch.items():
        if key.startswith(_ORDER) and isinstance(merged.get(field := key.removeprefix(_ORDER)), list):
            below = schemas.child(schema, field) or {}
            merged[field] = _ordered(merged[field], order, below.get("x-kubernetes-patch-merge-key"))
    return merged


def _merge_list(present: Any, patch: list[Any], schema: Schema, schemas: Schemas) -> list[Any]:
    strategy = schema.get("x-kubernetes-patch-strategy", "")
    if "merge" not in strategy.split(",") or any(_is_replace(item) for item in patch):
        return [_bare(item) for item in patch if not _is_replace(item)]
    merged = list(present or ())
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:
        return merged + [item for item in patch if item not in merged]
    items = schemas.items(schema)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise errors.bad_request(f"map: {item} does not contain declared merge key: {key}")
        index = next((i for i, one in enumerate(merged) if one.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            if index is not None:
                del merged[index]
        elif index is None:
            merged.append(_bare(item))
        else:
            merged[index] = strategic_merge(merged[index], item, items, schemas)
    return merged


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    rank = {str(identity(item)): index for index, item in enumerate(order)}
    return sorted(items, key=lambda item: rank.get(str(identity(item)), len(rank)))


def _is_replace(item: Any) -> bool:
    return isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" and len(item) == 1


def _bare(value: Any) -> Any:
    """Return a patch's value without directives and nulls: what a new field becomes."""
    if isinstance(value, dict):
        return {
            key: _bare(item)
            for key, item in value.items()
            if item is not None and not key.startswith(("$patch", "$retainKeys", _ORDER, _DELETE_FROM))
        }
    if isinstance(value, list):
        return [
            _bare(item) for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")
        ]
    return value
