# SPDX-License-Identifier: Apache-2.0
"""Errors that the API reports as a ``Status`` object, with the texts of the real API server."""

from __future__ import annotations

from typing import Any, NamedTuple


class Cause(NamedTuple):
    """One entry of ``status.details.causes``: a field and what is wrong with it."""

    field: str
    reason: str  # FieldValueInvalid, FieldValueRequired, FieldValueDuplicate, FieldValueForbidden, ...
    message: str


class ApiError(Exception):
    """A request that the API refuses; ``status()`` is its JSON form."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def status(self) -> dict[str, Any]:
        """Return the ``Status`` object of this error."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


def _details(resource: str, name: str, **more: Any) -> dict[str, Any]:
    plural, _, group = resource.partition(".")
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = plural
    return details | more


def not_found(resource: str, name: str) -> ApiError:
    """404: ``pods "x" not found``."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', details=_details(resource, name))


def already_exists(resource: str, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    message = f'{resource} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: str, name: str, why: str = "") -> ApiError:
    """409 for a write against an older version of the object, or another ``why``."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def expired(message: str) -> ApiError:
    """410 for a watch or a list from a resourceVersion that is no longer kept."""
    return ApiError(410, "Expired", message)


def bad_request(message: str) -> ApiError:
    """400 for what cannot be understood."""
    return ApiError(400, "BadRequest", message)


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """403; ``why`` follows the colon."""
    of = f'{resource} "{name}" is forbidden' if name else f"{resource} is forbidden"
    return ApiError(403, "Forbidden", f"{of}: {why}", details=_details(resource, name))


def method_not_supported(resource: str, action: str) -> ApiError:
    """405 for a verb that the resource does not have."""
    message = f'{action} is not supported on resources of kind "{resource}"'
    return ApiError(405, "MethodNotAllowed", message, details=_details(resource, ""))


def invalid(qualified_kind: str, name: str, causes: list[Cause]) -> ApiError:
    """422 for an object that breaks the rules of its kind.

    ``qualified_kind`` is ``Pod`` or ``NetworkPolicy.networking.k8s.io``.
    """
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    kind, _, group = qualified_kind.partition(".")
    details: dict[str, Any] = {"name": name}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    return ApiError(422, "Invalid", f'{qualified_kind} "{name}" is invalid: {joined}', details=details)
