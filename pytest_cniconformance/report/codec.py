# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to builtins and back, driven by their type annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pytest_cniconformance.model.failure import UsageError

T = TypeVar("T")


class RecordError(UsageError):
    """A report file that does not follow the schema; the message names the field."""


def dump(value: Any) -> Any:
    """Return ``value`` as builtins that JSON and execnet carry; enums become their values."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [dump(item) for item in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    # execnet refuses subclasses of the builtins, and one of them would kill the run.
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(f"a record holds builtins only, not {type(value).__name__}: {value!r}")


def load(kind: type[T], data: Any, where: str = "record") -> T:
    """Build a ``kind`` from builtins.

    Unknown keys are ignored, so that a reader of 1.0 reads a later 1.x; missing keys take their default.
    Raises RecordError naming the field that is wrong.
    """
    return cast("T", _load(kind, data, where))


def _load(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        members = get_args(kind)
        if data is None and type(None) in members:
            return None
        return _load(next(m for m in members if m is not type(None)), data, where)
    if origin is tuple:
        return _load_tuple(get_args(kind), data, where)
    if origin is dict:
        _expect(data, Mapping, "an object", where)
        return {str(key): _load(get_args(kind)[1], item, f"{where}.{key}") for key, item in data.items()}
    if is_dataclass(kind):
        return _load_dataclass(cast("type[Any]", kind), data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            raise RecordError(f"{where}: {data!r} is not one of {allowed}") from None
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:
        raise RecordError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
    return data


def _load_tuple(members: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    _expect(data, (list, tuple), "a list", where)
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(_load(members[0], item, f"{where}[{index}]") for index, item in enumerate(data))
    if len(members) != len(data):
        raise RecordError(f"{where}: expected {len(members)} items, found {len(data)}")
    pairs = zip(members, data, strict=True)
    return tuple(_load(member, item, f"{where}[{index}]") for index, (member, item) in enumerate(pairs))


def _load_dataclass(kind: type[Any], data: Any, where: str) -> Any:
    _expect(data, Mapping, "an object", where)
    hints = _hints(cast("Any", kind))
    values = {}
    for field in fields(kind):
        if field.name in data:
            values[field.name] = _load(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise RecordError(f"{where}: the field {field.name!r} is missing")
    return kind(**values)


def _expect(data: Any, kind: Any, name: str, where: str) -> None:
    if not isinstance(data, kind):
        raise RecordError(f"{where}: expected {name}, found {type(data).__name__}")


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)
