# SPDX-License-Identifier: Apache-2.0
"""Request bodies: decoded and checked against the schema of their kind and the path they were sent to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.decode import Walk, drop_nulls
from pytest_cniconformance.lab.api.objects import Obj, clone, name_of

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Resource
    from pytest_cniconformance.lab.api.schemas import Schemas


@dataclass(slots=True)
class Options:
    """How a write was asked for. ``warnings`` collects what the client shall be told."""

    dry_run: bool = False
    validation: str = "Ignore"  # fieldValidation: Strict, Warn, Ignore
    manager: str = "lab"
    force: bool = False
    trusted: bool = False  # skip the schema: the object is written in this package
    warnings: list[str] = field(default_factory=list)


class Bodies:
    """Decodes request bodies with one set of schemas."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas

    def decode(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        options: Options,
        *,
        unknown: list[str] | None = None,
    ) -> Obj:
        """Return a request's object, checked against its kind's schema and the path it was sent to."""
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized: json: not an object")
        obj: Obj = drop_nulls(body) if not resource.custom else clone(body)
        _check_identity(resource, namespace, name, obj)
        if options.trusted:
            return obj
        if resource.custom or not self.schemas.is_valid(resource, obj):
            walk = Walk(self.schemas, custom=resource.custom)
            findings = walk.run(obj, self.schemas.root(resource), resource.kind)
            prefix = (
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            )
            if findings.type_errors:
                raise errors.bad_request(prefix + findings.type_errors[0])
            if findings.causes and resource.custom:
                raise errors.invalid(resource.qualified_kind, name_of(obj), findings.causes)
            if unknown is not None:
                unknown += findings.unknown
            else:
                report_unknown(resource, findings.unknown, options)
        return obj


def report_unknown(resource: Resource, unknown: list[str], options: Options) -> None:
    """Refuse undeclared fields or warn of them, as ``fieldValidation`` asks."""
    texts = [f'unknown field "{path}"' for path in unknown]
    if texts and options.validation == "Strict":
        prefix = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        raise errors.bad_request(f"{prefix}strict decoding error: {', '.join(texts)}")
    if options.validation == "Warn":
        options.warnings += texts


def _check_identity(resource: Resource, namespace: str | None, name: str, obj: Obj) -> None:
    version, kind = (
        obj.setdefault("apiVersion", resource.api_version),
        obj.setdefault("kind", resource.kind),
    )
    if version != resource.api_version:
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if kind != resource.kind:
        raise errors.bad_request(
            f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
        )
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request(f"{kind}.metadata must be an object")
    if name:
        given = metadata.setdefault("name", name)
        if given != name:
            raise errors.bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({name})"
            )
    if resource.namespaced:
        if metadata.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        metadata.pop("namespace", None)
