# SPDX-License-Identifier: Apache-2.0
"""Who a request is from: static bearer tokens and signed tokens of ServiceAccounts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.store import Store

ISSUER = "https://kubernetes.default.svc.cluster.local"
_AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated client."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


ADMIN = User("kubernetes-admin", ("system:masters", _AUTHENTICATED))
"""May do everything."""
NOBODY = User("nobody", (_AUTHENTICATED,))
"""Authenticated, without any right beyond discovery and reviews of itself."""
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Tokens:
    """Tokens that the API accepts: fixed ones, and those it issued to ServiceAccounts."""

    def __init__(self, store: Store, static: Mapping[str, User]) -> None:
        self._store = store
        self._static = dict(static)
        self._key = secrets.token_bytes(32)

    def authenticate(self, header: str | None) -> User:
        """Return the user of an ``Authorization`` header; raises 401 for a token that is not valid."""
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer":
            if (user := self._static.get(token)) is not None:
                return user
            if (claims := self.claims(token)) is not None:
                return _service_account(claims)
        raise errors.ApiError(401, "Unauthorized", "Unauthorized")

    def issue(self, account: Obj, *, pod: Obj | None = None, seconds: int = 3600) -> tuple[str, int]:
        """Return a token for a ServiceAccount, bound to ``pod`` if given, and when it expires (Unix time)."""
        metadata = account["metadata"]
        issued = int(time.time())
        private: Obj = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if pod is not None:
            private["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        claims = {
            "aud": [ISSUER],
            "exp": issued + seconds,
            "iat": issued,
            "nbf": issued,
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            "kubernetes.io": private,
        }
        body = _encode({"alg": "HS256", "typ": "JWT"}) + "." + _encode(claims)
        return body + "." + self._sign(body), issued + seconds

    def claims(self, token: str) -> Obj | None:
        """Return the claims of a token issued here that is still good, else None."""
        body, _, signature = token.rpartition(".")
        if not body or not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return None
        try:
            claims: Obj = json.loads(_decode(body.partition(".")[2]))
        except (ValueError, binascii.Error):
            return None
        private = claims["kubernetes.io"]
        account = self._store.get("serviceaccounts", private["namespace"], private["serviceaccount"]["name"])
        if account is None or account["metadata"]["uid"] != private["serviceaccount"]["uid"]:
            return None
        if "pod" in private and self._store.get("pods", private["namespace"], private["pod"]["name"]) is None:
            return None
        return claims if claims["exp"] > time.time() else None

    def _sign(self, body: str) -> str:
        digest = hmac.digest(self._key, body.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _service_account(claims: Obj) -> User:
    private = claims["kubernetes.io"]
    namespace = private["namespace"]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", _AUTHENTICATED)
    return User(claims["sub"], groups, private["serviceaccount"]["uid"])


def _encode(value: Obj) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
