# SPDX-License-Identifier: Apache-2.0
"""OpenAPI documents: enough for kubectl to apply, explain and know that fields are validated by the server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pytest_cniconformance.lab.api.objects import Obj, encode
from pytest_cniconformance.lab.api.paths import page_not_found
from pytest_cniconformance.lab.api.responses import json_response
from pytest_cniconformance.lab.api.schemas import SERVED_VERSION

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Kinds, Resource
    from pytest_cniconformance.lab.api.schemas import Schemas

_V2_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # "@", as clients write it, is no media type
)
_INFO = {"title": "Kubernetes", "version": f"v{SERVED_VERSION}"}
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")
]


def openapi_v2(accept: str) -> web.Response:
    """Return an OpenAPI v2 document without definitions; kubectl needs none, as the server validates."""
    if "protobuf" in accept.partition(",")[0]:
        return web.Response(body=b"", headers={"Content-Type": _V2_PROTOBUF})  # an empty Document message
    return json_response({"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}})


def openapi_v3(kinds: Kinds, schemas: Schemas, path: str) -> web.Response:
    """Return the index of OpenAPI v3 documents, or the one of a group and version."""
    rest = path.removeprefix("/openapi/v3").strip("/")
    if not rest:
        return json_response({"paths": _index(kinds)})
    found = [resource for resource in kinds.all() if _prefix(resource) == rest]
    if not found:
        raise page_not_found()
    return web.Response(body=encode(_document(found, schemas)), headers={"Content-Type": "application/json"})


def _prefix(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


def _index(kinds: Kinds) -> Obj:
    digest = hashlib.sha256(str(kinds.generation).encode()).hexdigest()[:16].upper()
    return {
        prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}?hash={digest}"}
        for prefix in dict.fromkeys(map(_prefix, kinds.all()))
    }


def _document(resources: list[Resource], schemas: Schemas) -> Obj:
    components: dict[str, Any] = {}
    paths: Obj = {}
    for resource in resources:
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        name = resource.definition or f"{resource.group}.{resource.version}.{resource.kind}"
        root = schemas.root(resource)
        components[name] = {**_rewrite(root), "x-kubernetes-group-version-kind": [gvk]}
        _add_referenced(root, schemas, components)
        scope = "namespaces/{namespace}/" if resource.namespaced else ""
        at = f"/{_prefix(resource)}/{scope}{resource.plural}"
        for where, methods in ((at, ("get", "post")), (at + "/{name}", ("get", "put", "patch", "delete"))):
            paths[where] = {method: _operation(method, gvk, name) for method in methods}
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": components}}


def _operation(method: str, gvk: Obj, name: str) -> Obj:
    operation: Obj = {
        "parameters": _PARAMETERS if method in ("post", "put", "patch") else [],
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
            }
        },
        "x-kubernetes-action": method,
        "x-kubernetes-group-version-kind": gvk,
    }
    return operation


def _add_referenced(schema: Any, schemas: Schemas, components: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for item in schema:
            _add_referenced(item, schemas, components)
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name not in components:
            components[name] = _rewrite(schemas.definitions[name])
            _add_referenced(schemas.definitions[name], schemas, components)
    for value in schema.values():
        _add_referenced(value, schemas, components)


def _rewrite(schema: Any) -> Any:
    """Turn a bundled JSON schema into an OpenAPI one: references, types without null, open objects."""
    if isinstance(schema, list):
        return [_rewrite(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = f"#/components/schemas/{reference.rpartition('/')[2]}"
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**rest, "allOf": [{"$ref": target}]} if rest else {"$ref": target}
    rewritten: Obj = {}
    for key, value in schema.items():
        if key == "additionalProperties" and value is False:
            continue
        if key == "type" and isinstance(value, list):
            rewritten[key] = next(one for one in value if one != "null")
        elif key == "properties":
            rewritten[key] = {name: _rewrite(item) for name, item in value.items()}
        else:
            rewritten[key] = _rewrite(value)
    return rewritten
