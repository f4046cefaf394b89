# SPDX-License-Identifier: Apache-2.0
"""Open a websocket to the API server with the same address, TLS, proxy and credentials as plain requests.

``kubernetes.stream.stream()`` is not used: it replaces a method of the shared client while it runs, so that every
other request of the process fails meanwhile (kubernetes-client/python issue 928). ``ws_client.create_websocket``
has no timeouts and differs between releases in which protocols it asks for.
"""

from __future__ import annotations

import base64
import http.client
import importlib
import socket
from typing import Any
from urllib.parse import unquote, urlsplit

from ..model.failure import UsageError
from .connection import Connection
from .errors import Call, KubeError, Unauthorized, Unreachable, from_response
from .exec import V4, V5
from .retry import RETRYABLE, parse_retry_after
from .transport import Transport, explain


def _through_http_proxy(connection: Connection, timeout: float) -> socket.socket:
    server = connection.server
    proxy = urlsplit(connection.proxy or "")
    headers = {}
    if proxy.username:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    tunnel = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 3128, timeout=timeout)
    tunnel.set_tunnel(server.host, server.port, headers=headers)
    tunnel.connect()
    sock: socket.socket = tunnel.sock
    return sock


def _through_socks_proxy(connection: Connection, timeout: float) -> socket.socket:
    try:
        socks = importlib.import_module("socks")
    except ImportError:
        raise UsageError("the cluster is behind a SOCKS proxy: `pip install pysocks` to reach it") from None
    proxy = urlsplit(connection.proxy or "")
    kind = socks.SOCKS4 if proxy.scheme.startswith("socks4") else socks.SOCKS5
    sock: socket.socket = socks.create_connection(
        (connection.server.host, connection.server.port),
        timeout=timeout,
        proxy_type=kind,
        proxy_addr=proxy.hostname,
        proxy_port=proxy.port or 1080,
        proxy_rdns=proxy.scheme in ("socks5h", "socks4a"),
        proxy_username=unquote(proxy.username) if proxy.username else None,
        proxy_password=unquote(proxy.password) if proxy.password else None,
    )
    return sock


def open_socket(connection: Connection, timeout: float) -> socket.socket:
    """Return a connected socket to the API server, TLS included; raises :class:`OSError`."""
    server = connection.server
    scheme = urlsplit(connection.proxy or "").scheme
    if scheme.startswith("socks"):
        raw = _through_socks_proxy(connection, timeout)
    elif scheme == "http":
        raw = _through_http_proxy(connection, timeout)
    elif scheme:
        raise UsageError(
            f"exec through a proxy of scheme {scheme}:// is not supported: use http:// or socks5://"
        )
    else:
        raw = socket.create_connection((server.host, server.port), timeout)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if connection.tls is None:
            return raw
        return connection.tls.wrap_socket(raw, server_hostname=connection.tls_server_name or server.host)
    except BaseException:
        raw.close()
        raise


def _once(transport: Transport, call: Call, url: str, timeout: float) -> Any:
    import websocket

    connection = transport.connection
    try:
        sock = open_socket(connection, timeout)
    except OSError as error:
        raise Unreachable(call, explain(error, connection)) from None
    client: Any = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
    authorization = connection.authorization()
    headers = {"User-Agent": "pytest-cniconformance"}
    if authorization:
        headers["Authorization"] = authorization
    try:
        client.connect(
            url, socket=sock, header=headers, subprotocols=[V5, V4], suppress_origin=True, redirect_limit=0
        )
    except websocket.WebSocketBadStatusException as error:
        # Not str(error): it holds the response headers.
        retry_after = parse_retry_after((error.resp_headers or {}).get("retry-after"))
        raise from_response(
            call, error.status_code, error.resp_body or b"", retry_after=retry_after
        ) from None
    except (websocket.WebSocketException, OSError) as error:
        if (
            isinstance(error, OSError)
            or "closed" in str(error)
            or "lost" in str(error)
            or "timed out" in str(error)
        ):
            raise Unreachable(call, explain(error, connection)) from None
        raise KubeError(
            call,
            f"{connection.server} did not switch to a websocket with protocol {V5} or {V4}",
            remedy="A proxy before the API server must pass `Connection: Upgrade` and Sec-WebSocket-Protocol",
        ) from None
    finally:
        if not client.connected:
            sock.close()
    return client


def open_websocket(transport: Transport, call: Call, url: str, timeout: float) -> Any:
    """Return an open, non-blocking websocket; tries again within ``timeout`` seconds if the server is busy.

    A failed handshake has started no command, so trying again is safe.
    """
    backoff = transport.backoff(timeout)
    relogged = False
    while True:
        try:
            client = _once(transport, call, url, max(backoff.remaining, 1.0))
        except Unauthorized:
            if relogged:
                raise
            relogged = True
            transport.connection.reload()
        except KubeError as failure:
            again = isinstance(failure, Unreachable) or failure.status in RETRYABLE
            if not again or not backoff.pause(failure.retry_after):
                raise
        else:
            client.settimeout(0)
            return client
