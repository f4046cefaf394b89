# SPDX-License-Identifier: Apache-2.0
"""The official schemas, as bundled in ``kubernetes_validate``, and those of custom resources.

They drive decoding (unknown fields, types), strategic merge and server-side apply. Everything is loaded on first
use, so that a lab starts without them.
"""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Resource

Schema = dict[str, Any]

SERVED_VERSION = "1.33.0"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}


class Schemas:
    """Schemas by resource, with their references resolved one step at a time."""

    def __init__(self) -> None:
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    @cached_property
    def definitions(self) -> dict[str, Schema]:
        """The bundled definitions by full name (about 15 ms to load)."""
        return _load_definitions()

    def root(self, resource: Resource) -> Schema:
        """Return the schema of a resource's objects."""
        if resource.definition:
            return self.definitions[resource.definition]
        return _custom_root(resource)

    def resolve(self, schema: Schema) -> Schema:
        """Follow a ``$ref``."""
        while isinstance(reference := schema.get("$ref"), str):
            schema = self.definitions[reference.rpartition("/")[2]]
        return schema

    def child(self, schema: Schema, key: str) -> Schema | None:
        """Return the schema of a field, None when the field is not declared."""
        schema = self.resolve(schema)
        if (declared := schema.get("properties", {}).get(key)) is not None:
            field: Schema = declared
            return field
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            return more
        return _ANY if is_open(schema) else None

    def items(self, schema: Schema) -> Schema:
        """Return the schema of a list's elements."""
        found: Schema = self.resolve(schema).get("items") or _ANY
        return found

    def is_valid(self, resource: Resource, obj: dict[str, Any]) -> bool:
        """Quick check of a built-in kind; a False answer must be explained by a walk."""
        validator = self._validators.get(resource.definition)
        if validator is None:
            root = {"$ref": f"#/$defs/{resource.definition}", "$defs": self.definitions}
            validator = self._validators[resource.definition] = jsonschema_rs.Draft202012Validator(root)
        return validator.is_valid(obj)


def is_open(schema: Schema) -> bool:
    """Whether an object of this (resolved) schema may hold any field."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties") is True:
        return True
    # JSON and RawExtension among the bundled definitions, {"type": "object"} without properties.
    return "properties" not in schema and schema.get("additionalProperties") in (None, False)


@lru_cache(maxsize=1)
def _load_definitions() -> dict[str, Schema]:
    bundle = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    file = bundle / f"v{SERVED_VERSION}-local-strict" / "_definitions.json"
    found: dict[str, Schema] = json.loads(file.read_text(encoding="utf-8"))["$defs"]
    return found


def _custom_root(resource: Resource) -> Schema:
    declared = resource.schema or {}
    properties = {
        **declared.get("properties", {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": f"#/$defs/{_META}"},
    }
    return {**declared, "properties": properties}
