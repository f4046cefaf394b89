# SPDX-License-Identifier: Apache-2.0
"""Reading a request's object against its schema: types, unknown fields, required fields, enumerations.

Built-in kinds answer as the Go decoder does (a wrong type is 400), custom ones as structural schemas do (422).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.errors import Cause
from pytest_cniconformance.lab.api.schemas import is_open

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.schemas import Schema, Schemas

_GO_KINDS = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
# Enumerations whose values the API compares in its own validation, with messages of their own.
_TYPED = {"string": str, "boolean": bool, "object": dict, "array": list}


@dataclass(slots=True)
class Findings:
    """What a walk found. ``unknown`` are paths of fields that the schema does not declare."""

    unknown: list[str] = field(default_factory=list)
    type_errors: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)


def drop_nulls(value: Any) -> Any:
    """Return JSON data without null members: the API reads a null field as an absent one."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [drop_nulls(item) if item is not None else {} for item in value]
    return value


class Walk:
    """One walk over one object; removes unknown fields from it and collects the findings."""

    def __init__(self, schemas: Schemas, *, custom: bool) -> None:
        self.schemas = schemas
        self.custom = custom
        self.findings = Findings()

    def run(self, obj: dict[str, Any], root: Schema, struct: str) -> Findings:
        """Walk ``obj``, whose Go struct is named ``struct``."""
        self._object(obj, root, "", "", struct)
        return self.findings

    def _value(self, value: Any, schema: Schema, path: str, plain: str, struct: str) -> None:
        reference = schema.get("$ref")
        resolved = self.schemas.resolve(schema)
        if isinstance(reference, str):
            struct = reference.rpartition(".")[2]
        if resolved.get("x-kubernetes-int-or-string") or (not self.custom and "oneOf" in resolved):
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                self._wrong_type(value, "integer or string", path, plain, struct, struct)
            return
        expected = _type_of(resolved)
        if expected and not _fits(value, expected):
            self._wrong_type(value, expected, path, plain, struct, _go_type(self.schemas, schema))
            return
        if isinstance(value, dict):
            self._object(value, resolved, path, plain, struct)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._value(item, self.schemas.items(resolved), f"{path}[{index}]", plain, struct)
        self._constraints(value, resolved, path)

    def _object(self, value: dict[str, Any], schema: Schema, path: str, plain: str, struct: str) -> None:
        schema = self.schemas.resolve(schema)
        for key in list(value):
            at, plainly = (f"{path}.{key}", f"{plain}.{key}") if path else (key, key)
            below = self.schemas.child(schema, key)
            if below is None:
                self.findings.unknown.append(at)
                del value[key]
            elif self.custom and value[key] is None:
                if not below.get("nullable") and not is_open(below):
                    del value[key]  # pruned, as the API server does for a null that is not nullable
            else:
                self._value(value[key], below, at, plainly, struct)
        if self.custom:
            for key in schema.get("required", ()):
                if key not in value:
                    at = f"{path}.{key}" if path else key
                    self.findings.causes.append(Cause(at, "FieldValueRequired", "Required value"))

    def _constraints(self, value: Any, schema: Schema, path: str) -> None:
        if (allowed := schema.get("enum")) and value not in allowed:
            names = ", ".join(quoted(one) for one in (allowed if self.custom else sorted(allowed)))
            text = f"Unsupported value: {quoted(value)}: supported values: {names}"
            self.findings.causes.append(Cause(path, "FieldValueNotSupported", text))
        if self.custom and (text := _violation(value, schema, path)):
            self.findings.causes.append(Cause(path, "FieldValueInvalid", text))
        if self.custom and (branches := schema.get("oneOf") or schema.get("anyOf")):
            fitting = sum(_fits_branch(value, branch) for branch in branches)
            if not fitting or ("oneOf" in schema and fitting > 1):
                rule = "validate one and only one schema (oneOf)" if "oneOf" in schema else "validate"
                text = f'Invalid value: "{_type_name(value)}": {path} in body must {rule}'
                self.findings.causes.append(Cause(path, "FieldValueInvalid", text))

    def _wrong_type(self, value: Any, expected: str, path: str, plain: str, struct: str, go: str) -> None:
        if self.custom:
            given = _type_name(value)
            shown = f'"{given}"' if isinstance(value, str | dict | list) else given
            text = f'Invalid value: {shown}: {path} in body must be of type {expected}: "{given}"'
            self.findings.causes.append(Cause(path, "FieldValueTypeInvalid", text))
        else:
            given = _GO_KINDS.get(type(value), "null")
            if given == "number" and isinstance(value, float):
                given = f"number {value}"
            text = f"json: cannot unmarshal {given} into Go struct field {struct}.{plain} of type {go}"
            self.findings.type_errors.append(text)


def quoted(value: Any) -> str:
    """Return a value as the API quotes it in messages."""
    return json.dumps(value, ensure_ascii=False)


def _type_of(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "")
    return str(kind)


def _fits(value: Any, expected: str) -> bool:
    if expected in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return expected == "number" or isinstance(value, int) or value.is_integer()
    return isinstance(value, _TYPED.get(expected, object))


def _type_name(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "null")


def _go_type(schemas: Schemas, schema: Schema) -> str:
    if isinstance(reference := schema.get("$ref"), str):
        return "v1." + reference.rpartition(".")[2]
    kind = _type_of(schema)
    if kind == "array":
        return "[]" + _go_type(schemas, schema.get("items", {}))
    if kind == "object":
        more = schema.get("additionalProperties")
        return (
            f"map[string]{_go_type(schemas, more)}" if isinstance(more, dict) else "map[string]interface {}"
        )
    if kind == "integer":
        return str(schema.get("format", "int64"))
    return {"boolean": "bool", "number": "float64"}.get(kind, kind)


def _violation(value: Any, schema: Schema, path: str) -> str:
    where = f"{path} in body"
    if isinstance(value, str):
        if (pattern := schema.get("pattern")) and not _matches(pattern, value):
            return f"Invalid value: {quoted(value)}: {where} should match '{pattern}'"
        if len(value) > schema.get("maxLength", math.inf):
            return f"Too long: may not be more than {schema['maxLength']} bytes"
        if len(value) < schema.get("minLength", 0):
            least = schema["minLength"]
            return f"Invalid value: {quoted(value)}: {where} should be at least {least} chars long"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value > schema.get("maximum", math.inf):
            return f"Invalid value: {value}: {where} should be less than or equal to {schema['maximum']}"
        if value < schema.get("minimum", -math.inf):
            return f"Invalid value: {value}: {where} should be greater than or equal to {schema['minimum']}"
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", math.inf):
            return f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        if len(value) < schema.get("minItems", 0):
            return f"Invalid value: {len(value)}: {where} should have at least {schema['minItems']} items"
    return ""


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:  # RE2 syntax that Python does not know: let it pass
        return True


def _fits_branch(value: Any, branch: Schema) -> bool:
    """Whether a value fits one branch of oneOf/anyOf, as structural schemas use them (required, types, enum)."""
    if "not" in branch and _fits_branch(value, branch["not"]):
        return False
    if "anyOf" in branch and not any(_fits_branch(value, one) for one in branch["anyOf"]):
        return False
    if (kind := branch.get("type")) and not _fits(value, kind):
        return False
    if "enum" in branch and value not in branch["enum"]:
        return False
    if isinstance(value, dict):
        if any(key not in value for key in branch.get("required", ())):
            return False
        below = branch.get("properties", {})
        return all(_fits_branch(value[key], below[key]) for key in below if key in value)
    return True


def apply_defaults(value: Any, schema: Schema) -> None:
    """Fill in the defaults of a structural schema, in place."""
    if isinstance(value, dict):
        for key, below in schema.get("properties", {}).items():
            if key not in value and "default" in below:
                value[key] = json.loads(json.dumps(below["default"]))
            if key in value:
                apply_defaults(value[key], below)
        if isinstance(more := schema.get("additionalProperties"), dict):
            for key in value:
                apply_defaults(value[key], more)
    elif isinstance(value, list):
        for item in value:
            apply_defaults(item, schema.get("items", {}))
