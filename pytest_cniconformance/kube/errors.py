# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes API refused, in words a person can act on.

Every message reads ``<verb> <object>: <what happened>. <what to do>``. Messages are built from the request's
verb and object and from the ``Status`` that the API sent; never from headers, so no credential gets into one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ..model.failure import ClusterError

CHOOSE_ANOTHER = (
    "Choose another cluster with --cni-kubeconfig=PATH, --cni-context=NAME or "
    "--cni-cluster=kind|lab (lab needs nothing but this machine)"
)
"""How to get away from a cluster that does not answer."""

_TEXT_LIMIT = 600
_RBAC_VERBS = {"exec": "create", "apply": "patch"}
_DENIED = re.compile(r'cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One request in a person's terms: ``create`` ``Pod ns/name``, and the permission that it needs."""

    verb: str
    target: str
    resource: str = ""
    namespace: str | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class KubeError(ClusterError):
    """The Kubernetes API failed or refused a request: outcome ``error``, never evidence about the CNI.

    ``status`` is the HTTP status (None where there was none), ``reason`` the API's machine-readable reason,
    ``message`` the API's own words, ``causes`` its field causes. ``attempts`` counts requests sent; ``ambiguous``
    says that an earlier one of them may have taken effect although its answer was lost.
    """

    remedy = ""
    retryable = True
    """Whether sending the same request again can help (where its HTTP status suggests so)."""

    def __init__(
        self,
        call: Call | str,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        causes: tuple[str, ...] = (),
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.call = call
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after
        self.attempts = 1
        self.ambiguous = False
        advice = self.remedy if remedy is None else remedy
        text = f"{call}: {message.rstrip('. ')}" if str(call) else message.rstrip(". ")
        extra = [cause for cause in causes if cause not in message]
        if extra:
            text += f" ({'; '.join(extra)})"
        super().__init__(f"{text}. {advice}" if advice else text)


class BadRequest(KubeError):
    """400: the API could not read the request."""


class Unauthorized(KubeError):
    """401: the API does not accept the credentials."""

    remedy = (
        "The cluster does not accept the credentials of this kubeconfig context: log in again, then check "
        "with `kubectl auth whoami`"
    )


class Forbidden(KubeError):
    """403: no permission, or admission (Pod Security, quota, a webhook) said no."""


class NotFound(KubeError):
    """404: the object, its namespace or its kind does not exist."""


class UnknownKind(NotFound):
    """The cluster serves no such kind, mostly because a CRD is not installed."""


class Conflict(KubeError):
    """409: somebody else changed the object at the same time."""


class AlreadyExists(KubeError):
    """409 AlreadyExists: an object of that name is there."""

    remedy = "Remove it, or run `cniconformance cleanup` if an earlier run left it"


class Gone(KubeError):
    """410: the resource version or the continue token is too old."""


class Invalid(KubeError):
    """422: the API rejected the content; ``causes`` names the fields."""

    retryable = False


class TooManyRequests(KubeError):
    """429: the API server throttles, and went on doing so for as long as requests are retried."""

    remedy = "The API server is overloaded; try again later or raise --cni-timeout-scale"


class ServerError(KubeError):
    """5xx that outlasted the retries."""

    remedy = "Look at the API server (`kubectl get --raw /readyz?verbose`) and at admission webhooks"


class Unreachable(KubeError):
    """No HTTP answer: refused, reset, timed out, unknown name, bad certificate."""

    remedy = CHOOSE_ANOTHER


class WaitTimeout(KubeError):
    """The awaited state did not come in time; the message says what was last seen."""


class StreamCut(KubeError):
    """An exec stream ended without the command's exit status."""


_BY_STATUS: dict[int, type[KubeError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Return ``text`` on one line, cut to ``limit`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def parse_status(body: bytes) -> dict[str, Any]:
    """Return the API's ``Status`` object, or one made from what a proxy answered instead."""
    try:
        status = json.loads(body)
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", body.decode("utf-8", "replace"))
        return {"message": one_line(text, 200)}
    return status if isinstance(status, dict) else {"message": one_line(str(status), 200)}


def _causes(status: dict[str, Any]) -> tuple[str, ...]:
    details = status.get("details")
    found = details.get("causes") if isinstance(details, dict) else None
    return tuple(
        ": ".join(part for part in (cause.get("field", ""), cause.get("message", "")) if part)
        for cause in (found if isinstance(found, list) else [])
        if isinstance(cause, dict)
    )


def _forbidden_remedy(call: Call, message: str) -> str:
    if "violates PodSecurity" in message:
        return (
            "Pod Security admission refuses this pod: label the namespace "
            "pod-security.kubernetes.io/enforce=privileged, or let the cluster's policy admit it"
        )
    if "exceeded quota" in message:
        return "Raise or remove the ResourceQuota"
    if "being terminated" in message:
        return "The namespace is being deleted: wait until it is gone, or use another"
    if " cannot " not in message and ("admission" in message or "denied the request" in message):
        return (
            "An admission policy of the cluster refuses it: exempt namespaces labelled cniconformance/run-id"
        )
    verb, resource, namespace = call.verb, call.resource, call.namespace
    said = _DENIED.search(message)
    if said:  # what the API says it lacks is more exact: an apply that has to create needs "create"
        verb = said["verb"]
        resource = said["resource"] + (f".{said['group']}" if said["group"] else "")
    verb = _RBAC_VERBS.get(verb, verb)
    where = f'in namespace "{namespace}"' if namespace else "cluster-wide"
    scope = f" -n {namespace}" if namespace else ""
    return (
        f'Missing permission: verb "{verb}" on "{resource}" {where}; ask for a role that grants it and check with '
        f"`kubectl auth can-i {verb} {resource}{scope}`"
    )


def from_response(
    call: Call, http_status: int, body: bytes, *, retry_after: float | None = None
) -> KubeError:
    """Return the error for one HTTP answer of the API server (or of a proxy before it)."""
    status = parse_status(body)
    reason = str(status.get("reason") or "")
    message = one_line(str(status.get("message") or "")) or f"HTTP {http_status} without a reason"
    kind: type[KubeError]
    if http_status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    elif "field not declared in schema" in message:  # server-side apply answers a misspelt field with 500
        kind = Invalid
    else:
        kind = _BY_STATUS.get(http_status, ServerError if http_status >= 500 else KubeError)
    remedy = None
    if kind is Forbidden:
        remedy = _forbidden_remedy(call, message)
    elif kind is Invalid:
        remedy = "Correct the named fields"
    if kind in (ServerError, KubeError):
        message = f"HTTP {http_status} {reason + ': ' if reason else ''}{message}"
    return kind(
        call,
        message,
        status=http_status,
        reason=reason,
        causes=_causes(status),
        remedy=remedy,
        retry_after=retry_after,
    )
