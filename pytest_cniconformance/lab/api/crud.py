# SPDX-License-Identifier: Apache-2.0
"""The plain verbs on resources: get, list, create, update, patch, delete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors, protobuf
from pytest_cniconformance.lab.api.bodies import Options
from pytest_cniconformance.lab.api.lists import page, select
from pytest_cniconformance.lab.api.objects import encoded, name_of
from pytest_cniconformance.lab.api.paths import flag, number
from pytest_cniconformance.lab.api.responses import as_served, json_response, list_body, wants_table
from pytest_cniconformance.lab.api.tables import table
from pytest_cniconformance.lab.api.writes import APPLY_PATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.paths import Target
    from pytest_cniconformance.lab.api.server import Call

# Deleting one of these answers with the object itself, any other with a Status.
_RETURN_DELETED = frozenset({"pods", "services", "serviceaccounts"})
_VALIDATIONS = ("Strict", "Warn", "Ignore")


async def handle_verb(call: Call, target: Target) -> web.StreamResponse:
    """Answer a request for a resource or an object."""
    method = call.request.method
    if method in ("GET", "HEAD"):
        return read(call, target) if target.name else list_objects(call, target)
    body, raw_type = await read_body(call.request)
    if method == "POST" and not target.name:
        return create(call, target, body)
    if method == "PUT" and target.name:
        return update(call, target, body)
    if method == "PATCH" and target.name:
        return patch(call, target, body, raw_type)
    if method == "DELETE":
        return delete(call, target, body) if target.name else delete_collection(call, target, body)
    raise errors.method_not_supported(target.resource.key, method)


def read(call: Call, target: Target) -> web.Response:
    """GET one object."""
    obj = fetch(call, target)
    if wants_table(call.request.headers.get("Accept", "")):
        return _table(call, target, [obj], obj["metadata"]["resourceVersion"])
    return json_response(encoded(as_served(obj, target.resource)))


def fetch(call: Call, target: Target) -> Obj:
    """Return the object that a request is for; raises 404."""
    obj = call.server.store.get(target.resource.key, target.namespace, target.name)
    if obj is None:
        raise errors.not_found(target.resource.key, target.name)
    return obj


def list_objects(call: Call, target: Target) -> web.Response:
    """GET a list."""
    found = page(call.server.snapshots, call.server.store, target, call.request.query)
    if wants_table(call.request.headers.get("Accept", "")):
        return _table(
            call, target, found.objects, found.version, token=found.token, remaining=found.remaining
        )
    selected = "labelSelector" in call.request.query or "fieldSelector" in call.request.query
    remaining = None if selected else found.remaining
    body = list_body(target.resource, found.objects, found.version, token=found.token, remaining=remaining)
    return json_response(body)


def create(call: Call, target: Target, body: Any) -> web.Response:
    """POST a new object."""
    options = write_options(call)
    created = call.server.writes.create(target.resource, target.namespace, body, options)
    return _written(target, created, 201, options)


def update(call: Call, target: Target, body: Any) -> web.Response:
    """PUT an object."""
    options = write_options(call)
    updated = call.server.writes.update(
        target.resource, target.namespace, target.name, body, options, target.subresource
    )
    return _written(target, updated, 200, options)


def patch(call: Call, target: Target, body: Any, media_type: str) -> web.Response:
    """PATCH an object."""
    options = write_options(call, apply=media_type == APPLY_PATCH)
    patched, created = call.server.writes.patch(
        target.resource, target.namespace, target.name, media_type, body, options, target.subresource
    )
    return _written(target, patched, 201 if created else 200, options)


def delete(call: Call, target: Target, body: Any) -> web.Response:
    """DELETE an object."""
    options = write_options(call)
    gone = call.server.writes.delete(
        target.resource, target.namespace, target.name, delete_options(call, body), options
    )
    still = call.server.store.get(target.resource.key, target.namespace, target.name) is not None
    if target.resource.key in _RETURN_DELETED or (still and not options.dry_run):
        return json_response(encoded(as_served(gone, target.resource)))
    details: Obj = {"name": target.name}
    if target.resource.group:
        details["group"] = target.resource.group
    details |= {"kind": target.resource.plural, "uid": gone["metadata"]["uid"]}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_response(status)


def delete_collection(call: Call, target: Target, body: Any) -> web.Response:
    """DELETE all objects that the selectors choose."""
    if target.resource.namespaced and target.namespace is None:
        raise errors.method_not_supported(target.resource.key, "DELETE")
    options = write_options(call)
    deletion = delete_options(call, body)
    objects = select(call.server.store, target, call.request.query)
    for obj in objects:
        call.server.writes.delete(target.resource, target.namespace, name_of(obj), deletion, options)
    return json_response(list_body(target.resource, objects, str(call.server.store.version)))


async def read_body(request: web.Request) -> tuple[Any, str]:
    """Return the body of a request as data, and its media type; raises 400 and 415."""
    raw = await request.read()
    media_type = request.content_type
    if not raw:
        return {}, media_type
    if raw.startswith(protobuf.MAGIC):
        return protobuf.decode_body(raw), media_type
    try:
        return json.loads(raw), media_type
    except ValueError as failure:
        if "yaml" not in media_type:
            raise errors.bad_request(f"error decoding JSON: {failure}") from None
    import yaml

    try:
        return yaml.safe_load(raw), media_type
    except yaml.YAMLError as failure:
        raise errors.bad_request(f"error decoding YAML: {failure}") from None


def write_options(call: Call, *, apply: bool = False) -> Options:
    """Return how a request wants its write carried out; raises 400 and 422."""
    query = call.request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        names = ", ".join(f'"{name}"' for name in ("Ignore", "Strict", "Warn"))
        text = f'fieldValidation: Unsupported value: "{validation}": supported values: "", {names}'
        raise errors.ApiError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {text}')
    dry_run = query.getall("dryRun", [])
    if dry_run not in ([], ["All"]):
        raise errors.bad_request(f'dryRun: Unsupported value: {dry_run}: supported values: "All"')
    manager = query.get("fieldManager", "")
    if not manager and not apply:
        agent = call.request.headers.get("User-Agent", "")
        manager = agent.partition("/")[0] or "unknown"
    return Options(bool(dry_run), validation, manager, flag(query, "force"))


def delete_options(call: Call, body: Any) -> Obj:
    """Return DeleteOptions from a body and the query parameters, which win."""
    options: Obj = dict(body) if isinstance(body, dict) else {}
    if (grace := number(call.request.query, "gracePeriodSeconds")) is not None:
        options["gracePeriodSeconds"] = grace
    if policy := call.request.query.get("propagationPolicy"):
        options["propagationPolicy"] = policy
    return options


def _written(target: Target, obj: Obj, status: int, options: Options) -> web.Response:
    return json_response(encoded(as_served(obj, target.resource)), status, warnings=options.warnings)


def _table(
    call: Call,
    target: Target,
    objects: Sequence[Obj],
    version: str,
    *,
    token: str = "",
    remaining: int | None = None,
) -> web.Response:
    include = call.request.query.get("includeObject", "Metadata")
    body = table(target.resource, objects, version, include=include)
    if token:
        body["metadata"] |= {"continue": token, "remainingItemCount": remaining}
    return json_response(body)
