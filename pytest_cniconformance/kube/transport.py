# SPDX-License-Identifier: Apache-2.0
"""HTTP to one API server: a urllib3 pool, retries inside a budget, and every failure as a :class:`KubeError`."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ..model.failure import UsageError
from ..model.timeouts import Timeouts
from .connection import Connection
from .errors import (
    Call,
    Forbidden,
    KubeError,
    ServerError,
    Unauthorized,
    Unreachable,
    from_response,
    one_line,
)
from .lines import Lines
from .objects import Obj
from .retry import RETRYABLE, Backoff, parse_retry_after

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_UNRESOLVED = re.compile(r"Failed to resolve|getaddrinfo failed|Errno -[235]\b")
_POOL_SIZE = 64
_CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, and whether an earlier attempt may already have taken effect."""

    body: bytes
    ambiguous: bool = False

    def document(self, call: Call) -> Obj:
        """Return the body as a JSON object; raises :class:`ServerError` if it is something else."""
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ServerError(
                call,
                "the answer is not a JSON object",
                remedy="Is that address an API server, or a login page before one?",
            )
        return document


class _UnverifiedConnection(urllib3.connection.HTTPSConnection):
    """A connection whose user chose ``insecure-skip-tls-verify``: urllib3's warning would only break test runs."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _UnverifiedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _UnverifiedConnection


def _pool_manager(connection: Connection) -> urllib3.PoolManager:
    options: dict[str, Any] = {"num_pools": 2, "maxsize": _POOL_SIZE, "retries": False}
    if connection.tls is not None:
        options["ssl_context"] = connection.tls
        if not connection.verified:
            options["cert_reqs"] = "CERT_NONE"
        elif not connection.tls.check_hostname:
            options["assert_hostname"] = False
        if connection.tls_server_name:
            options["server_hostname"] = connection.tls_server_name
    manager: urllib3.PoolManager
    if connection.proxy and connection.proxy.startswith("socks"):
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError:
            raise UsageError(
                "the cluster is behind a SOCKS proxy: `pip install pysocks` to reach it"
            ) from None
        manager = SOCKSProxyManager(connection.proxy, **options)
    elif connection.proxy:
        proxy = urllib3.util.parse_url(connection.proxy)
        headers = urllib3.make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else None
        manager = urllib3.ProxyManager(connection.proxy, proxy_headers=headers, **options)
    else:
        manager = urllib3.PoolManager(**options)
    if not connection.verified:
        manager.pool_classes_by_scheme = dict(manager.pool_classes_by_scheme, https=_UnverifiedPool)
    return manager


def explain(error: BaseException, connection: Connection) -> str:
    """Return why no HTTP answer came, in one clause that names the server and holds no credential."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    server = str(connection.server)
    if isinstance(error, ProxyError):
        host = urllib3.util.parse_url(connection.proxy or "").host
        return f"the proxy {host} before the API server {server} does not answer"
    if isinstance(error, socket.gaierror) or _UNRESOLVED.search(str(error)):
        return f'the name "{connection.server.host}" of the API server {server} does not resolve'
    if isinstance(error, SSLError):
        return f"no trusted TLS connection to the API server {server}: {one_line(str(error), 200)}"
    if isinstance(error, (NewConnectionError, ConnectionRefusedError)):  # before its base class for time-outs
        detail = str(error).rpartition(": ")[2]
        return f"cannot connect to the API server {server}: {one_line(detail, 120)}"
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError, TimeoutError)):
        return f"the API server {server} did not answer in time"
    return f"the connection to the API server {server} broke: {type(error).__name__}"


def never_sent(error: BaseException) -> bool:
    """Whether the request cannot have reached the API server."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    return isinstance(error, (NewConnectionError, ConnectTimeoutError, SSLError, ProxyError))


def _transient_refusal(error: KubeError) -> bool:
    """Whether a refusal goes away by itself: the namespace's default ServiceAccount is made a moment later."""
    return isinstance(error, Forbidden) and "error looking up service account" in error.message


class Transport:
    """Requests to one API server. Thread-safe; nothing in it is swapped while requests run."""

    def __init__(self, connection: Connection, timeouts: Timeouts) -> None:
        self.connection = connection
        self.timeouts = timeouts
        self.stop = threading.Event()
        self._pool = _pool_manager(connection)
        self._base = str(connection.server)

    def close(self) -> None:
        """End all pauses and drop the pooled connections."""
        self.stop.set()
        self._pool.clear()

    def backoff(self, budget: float | None = None) -> Backoff:
        """Return a fresh series of pauses, by default for ``Timeouts.retry_for`` seconds."""
        return Backoff(self.timeouts.retry_for if budget is None else budget, self.stop)

    def headers(self, accept: str = JSON, content_type: str | None = None) -> dict[str, str]:
        """Return the request headers, the present authorization included."""
        headers = {"Accept": accept, "User-Agent": "pytest-cniconformance"}
        if content_type:
            headers["Content-Type"] = content_type
        authorization = self.connection.authorization()
        if authorization:
            headers["Authorization"] = authorization
        return headers

    def url(self, path: str, query: Mapping[str, Any] | list[tuple[str, str]] | None = None) -> str:
        """Return the full URL of an API path; query values that are None are left out."""
        pairs = query.items() if isinstance(query, Mapping) else query or []
        encoded = urlencode([(key, value) for key, value in pairs if value is not None])
        return f"{self._base}{path}" + (f"?{encoded}" if encoded else "")

    def request(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        idempotent: bool = True,
        retry_for: float | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send one request and return its answer; raises :class:`KubeError` when retries do not help.

        429, 500, 502, 503, 504 and dropped connections are retried with backoff for ``retry_for`` seconds.
        ``idempotent=False`` retries only what cannot have taken effect. ``timeout`` is per attempt.
        """
        backoff: Backoff | None = None  # its time starts with the first failure, however long that took
        payload = None if body is None else json.dumps(body).encode()
        ambiguous = relogged = False
        while True:
            try:
                status, data, retry_after = self._attempt(
                    method, self.url(path, query), payload, content_type, accept, timeout
                )
            except (HTTPError, OSError) as error:
                lost = not never_sent(error)
                ambiguous = ambiguous or lost
                failure: KubeError = Unreachable(call, explain(error, self.connection))
                again = (idempotent or not lost) and not self._hopeless(error)
            else:
                if status < 400:
                    return Answer(data, ambiguous)
                failure = from_response(call, status, data, retry_after=retry_after)
                failure.ambiguous = ambiguous
                if isinstance(failure, Unauthorized) and not relogged:
                    relogged = True
                    self.connection.reload()
                    continue
                again = status in RETRYABLE and (idempotent or status == 429) and failure.__class__.retryable
                again = again or _transient_refusal(failure)
                ambiguous = ambiguous or status in (500, 502, 503, 504)
            backoff = backoff or self.backoff(retry_for)
            if not again or not backoff.pause(failure.retry_after):
                failure.attempts = backoff.attempts + 1
                raise failure

    def _attempt(
        self,
        method: str,
        url: str,
        payload: bytes | None,
        content_type: str,
        accept: str,
        timeout: float | None,
    ) -> tuple[int, bytes, float | None]:
        response = self._pool.request(
            method,
            url,
            body=payload,
            headers=self.headers(accept, content_type if payload is not None else None),
            timeout=self._timeout(timeout),
            redirect=False,
        )
        return response.status, response.data, parse_retry_after(response.headers.get("Retry-After"))

    def _timeout(self, read: float | None) -> urllib3.Timeout:
        read = self.timeouts.request if read is None else read
        return urllib3.Timeout(connect=min(_CONNECT_TIMEOUT, max(read, 0.1)), read=max(read, 0.1))

    @staticmethod
    def _hopeless(error: BaseException) -> bool:
        """Whether the same failure would only come again: a certificate does not become valid by waiting."""
        text = str(error)
        return "CERTIFICATE_VERIFY_FAILED" in text or "WRONG_VERSION_NUMBER" in text

    def lines(self, call: Call, path: str, query: Mapping[str, Any], *, idle: float) -> Lines:
        """Open a stream of lines (a watch); raises :class:`KubeError` if it is refused, without retrying.

        ``idle`` is the longest silence in seconds that is still taken for a living connection.
        """
        try:
            response = self._pool.request(
                "GET",
                self.url(path, query),
                headers=self.headers(),
                timeout=self._timeout(idle),
                redirect=False,
                preload_content=False,
            )
            if response.status >= 400:
                body = response.read()
                response.release_conn()
                retry_after = parse_retry_after(response.headers.get("Retry-After"))
                raise from_response(call, response.status, body, retry_after=retry_after)
        except (HTTPError, OSError) as error:
            raise Unreachable(call, explain(error, self.connection)) from None
        return Lines(response)
