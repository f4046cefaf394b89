# SPDX-License-Identifier: Apache-2.0
"""Building responses: JSON from cached encodings, Status objects, content negotiation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from pytest_cniconformance.lab.api.objects import Obj, encode, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_cniconformance.lab.api.errors import ApiError
    from pytest_cniconformance.lab.api.kinds import Resource

JSON = "application/json"


def json_response(body: bytes | Any, status: int = 200, *, warnings: Iterable[str] = ()) -> web.Response:
    """Return a JSON response; ``warnings`` become Warning headers."""
    data = body if isinstance(body, bytes) else encode(body)
    response = web.Response(body=data, status=status, headers={"Content-Type": JSON})
    for text in dict.fromkeys(warnings):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def error_response(error: ApiError) -> web.Response:
    """Return an error's Status."""
    response = json_response(error.status(), error.code)
    response.headers.update(error.headers)
    return response


def as_served(obj: Obj, resource: Resource) -> Obj:
    """Return an object in the version that a request asked for."""
    if obj.get("apiVersion") == resource.api_version:
        return obj
    return {**obj, "apiVersion": resource.api_version}


def list_body(
    resource: Resource,
    objects: Sequence[Obj],
    version: str,
    *,
    token: str = "",
    remaining: int | None = None,
) -> bytes:
    """Return the JSON of a list, joined from the cached JSON of its items.

    Like the real API, items of built-in kinds carry no apiVersion and kind, custom ones do.
    """
    metadata: Obj = {"resourceVersion": version}
    if token:
        metadata["continue"] = token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    head = encode({"kind": resource.kind + "List", "apiVersion": resource.api_version, "metadata": metadata})
    prefix = encode({"apiVersion": resource.api_version, "kind": resource.kind})[:-1]
    cut = 0 if resource.custom else len(prefix) + 1
    parts = []
    for obj in objects:
        data = encoded(as_served(obj, resource))
        parts.append(b"{" + data[cut:] if cut and data.startswith(prefix) else data)
    return head[:-1] + b',"items":[' + b",".join(parts) + b"]}"


def wants_table(accept: str) -> bool:
    """Whether a client asks for the Table form first (kubectl get)."""
    first = accept.partition(",")[0]
    return "as=Table" in first
