# SPDX-License-Identifier: Apache-2.0
"""Reviews: questions about rights and identity that are answered at once and never stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.auth import User
from pytest_cniconformance.lab.api.objects import now
from pytest_cniconformance.lab.api.rbac import Action

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.paths import Target
    from pytest_cniconformance.lab.api.server import Call, Server

_EVERYTHING: list[Obj] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


def review(call: Call, target: Target, body: Any) -> Obj | None:
    """Answer a POST to a review resource; None when the resource is none."""
    handler = _REVIEWS.get(target.resource.key)
    if handler is None:
        return None
    spec = body.get("spec") or {} if isinstance(body, dict) else {}
    resource = target.resource
    answer: Obj = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"creationTimestamp": None},
    }
    if resource.kind != "SelfSubjectReview":
        answer["spec"] = spec
    answer["status"] = handler(call, spec)
    return answer


def _self_access(call: Call, spec: Obj) -> Obj:
    return _access(call.server, call.user, spec)


def _subject_access(call: Call, spec: Obj) -> Obj:
    return _access(call.server, User(spec.get("user", ""), tuple(spec.get("groups") or ())), spec)


def _access(server: Server, user: User, spec: Obj) -> Obj:
    if (asked := spec.get("resourceAttributes")) is not None:
        action = Action(
            asked.get("verb", ""),
            asked.get("group", ""),
            asked.get("resource", "") or "*",
            asked.get("subresource", ""),
            asked.get("namespace", ""),
            asked.get("name", ""),
        )
    elif (path := spec.get("nonResourceAttributes")) is not None:
        action = Action(path.get("verb", ""), path=path.get("path", ""))
    else:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = errors.Cause("spec.resourceAttributes", "FieldValueInvalid", f"Invalid value: null: {text}")
        raise errors.invalid("SelfSubjectAccessReview.authorization.k8s.io", "", [cause])
    allowed = server.authorizer.allowed(user, action)
    return (
        {"allowed": allowed, "reason": "RBAC: allowed by the lab's roles"} if allowed else {"allowed": False}
    )


def _rules(call: Call, spec: Obj) -> Obj:
    namespace = spec.get("namespace", "")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    if "system:masters" in call.user.groups:
        rules = list(_EVERYTHING)
    else:
        rules = list(call.server.authorizer.rules(call.user, namespace))
    return {
        "resourceRules": [rule for rule in rules if "resources" in rule],
        "nonResourceRules": [
            {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
            for rule in rules
            if "nonResourceURLs" in rule
        ],
        "incomplete": False,
    }


def _self(call: Call, spec: Obj) -> Obj:
    return {"userInfo": _user_info(call.user)}


def _token(call: Call, spec: Obj) -> Obj:
    try:
        user = call.server.tokens.authenticate(f"Bearer {spec.get('token', '')}")
    except errors.ApiError:
        return {"user": {}, "error": "[invalid bearer token]"}
    return {"authenticated": True, "user": _user_info(user)}


def _user_info(user: User) -> Obj:
    info: Obj = {"username": user.name, "groups": list(user.groups)}
    return info | {"uid": user.uid} if user.uid else info


_REVIEWS = {
    "selfsubjectaccessreviews.authorization.k8s.io": _self_access,
    "subjectaccessreviews.authorization.k8s.io": _subject_access,
    "selfsubjectrulesreviews.authorization.k8s.io": _rules,
    "selfsubjectreviews.authentication.k8s.io": _self,
    "tokenreviews.authentication.k8s.io": _token,
}


def request_token(server: Server, account: Obj, body: Any) -> Obj:
    """Answer a TokenRequest for a ServiceAccount."""
    spec = body.get("spec") or {} if isinstance(body, dict) else {}
    seconds = int(spec.get("expirationSeconds") or 3600)
    pod = None
    if (bound := spec.get("boundObjectRef")) and bound.get("kind") == "Pod":
        pod = server.store.get("pods", account["metadata"]["namespace"], bound.get("name", ""))
        if pod is None:
            raise errors.not_found("pods", bound.get("name", ""))
    token, expires = server.tokens.issue(account, pod=pod, seconds=seconds)
    stamp = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
            "creationTimestamp": now(),
        },
        "spec": {"audiences": spec.get("audiences") or [], "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": stamp},
    }
