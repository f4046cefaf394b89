# SPDX-License-Identifier: Apache-2.0
"""The API server's HTTP application: one entry for every request, from authentication to the answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.auth import Tokens, User
from pytest_cniconformance.lab.api.crud import fetch, handle_verb, read_body
from pytest_cniconformance.lab.api.discovery import discover, version_info
from pytest_cniconformance.lab.api.exec_spdy import exec_spdy
from pytest_cniconformance.lab.api.exec_websocket import exec_websocket
from pytest_cniconformance.lab.api.logs import send_logs
from pytest_cniconformance.lab.api.openapi import openapi_v2, openapi_v3
from pytest_cniconformance.lab.api.paths import Target, find_target, flag, page_not_found
from pytest_cniconformance.lab.api.rbac import Action
from pytest_cniconformance.lab.api.remote import exec_request
from pytest_cniconformance.lab.api.responses import error_response, json_response
from pytest_cniconformance.lab.api.reviews import request_token, review
from pytest_cniconformance.lab.api.server import SERVER, Call, Server
from pytest_cniconformance.lab.api.watching import watch
from pytest_cniconformance.lab.api.writes import Writes

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterable, Mapping

    from pytest_cniconformance.lab.api.seams import NodeAgents
    from pytest_cniconformance.lab.api.store import Store

_log = logging.getLogger(__name__)
_BODY_LIMIT = 8 * 1024 * 1024
_HEALTH = ("/healthz", "/livez", "/readyz")


def build_app(
    store: Store,
    agents: NodeAgents,
    *,
    tokens: Tokens | Mapping[str, User],
    faults: frozenset[str] = frozenset(),
    writes: Writes | None = None,
) -> web.Application:
    """Return the application that serves a store.

    ``tokens`` maps bearer tokens to users (``auth.ADMIN``), or is a ``Tokens`` that others issue from too. Give
    ``writes`` when in-process code shares it; no fault of the lab lies in the API itself so far.
    """
    if not isinstance(tokens, Tokens):
        tokens = Tokens(store, tokens)
    app = web.Application(client_max_size=_BODY_LIMIT)
    app[SERVER] = Server(store, writes or Writes(store), agents, tokens)
    app.router.add_route("*", "/{path:.*}", _entry)
    return app


async def serve(
    app: web.Application, sockets: Iterable[socket.socket], context: ssl.SSLContext | None
) -> web.AppRunner:
    """Serve an application on listening sockets; ``cleanup()`` of the result ends it.

    Requests of clients that left are cancelled, which ends their watches and kills their commands.
    """
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    for one in sockets:
        await web.SockSite(runner, one, ssl_context=context, backlog=512).start()
    return runner


async def _entry(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    try:
        user = server.tokens.authenticate(request.headers.get("Authorization"))
        if (name := request.headers.get("Impersonate-User")) is not None:
            user = _impersonate(server, user, name, request.headers.getall("Impersonate-Group", []))
        return await _route(Call(server, request, user))
    except errors.ApiError as error:
        return error_response(error)
    except (asyncio.CancelledError, ConnectionError, web.HTTPException):
        raise
    except Exception as failure:
        _log.exception("%s %s", request.method, request.path)
        text = f"Internal error occurred: {type(failure).__name__}: {failure}"
        return error_response(errors.ApiError(500, "InternalError", text))


def _impersonate(server: Server, user: User, name: str, groups: list[str]) -> User:
    """Return the user that a request wants to be taken for; raises 403."""
    server.authorizer.require(user, Action("impersonate", resource="users", name=name))
    parts = name.split(":")
    if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    return User(name, tuple(dict.fromkeys((*groups, "system:authenticated"))))


async def _route(call: Call) -> web.StreamResponse:
    target = find_target(call.server.kinds, call.request.path)
    if target is None:
        return _page(call)
    call.server.authorizer.require(call.user, target.action(call.request.method, call.request.query))
    if target.subresource:
        answer = await _subresource(call, target)
        if answer is not None:
            return answer
    if call.request.method == "POST" and not target.resource.verbs.count("list"):
        body, _ = await read_body(call.request)
        if (answered := review(call, target, body)) is not None:
            return json_response(answered, 201)
    if call.request.method == "GET" and flag(call.request.query, "watch"):
        return await watch(call, target)
    return await handle_verb(call, target)


async def _subresource(call: Call, target: Target) -> web.StreamResponse | None:
    """Answer a request for a subresource that is not a part of the object; None for the others."""
    if target.subresource == "exec":
        asked = exec_request(fetch(call, target), call.request.query)
        upgrade = call.request.headers.get("Upgrade", "").lower()
        if upgrade == "websocket":
            return await exec_websocket(call.request, asked, call.server.agents)
        if upgrade == "spdy/3.1":
            return await exec_spdy(call.request, asked, call.server.agents)
        raise errors.bad_request("Upgrade request required")
    if target.subresource == "log":
        return await send_logs(call, fetch(call, target))
    if call.request.method != "POST":
        return None
    body, _ = await read_body(call.request)
    if target.subresource == "token":
        return json_response(request_token(call.server, fetch(call, target), body), 201)
    if target.subresource == "eviction":
        return _evict(call, target, body)
    if target.subresource == "binding":
        return _bind(call, target, body)
    raise errors.method_not_supported(target.resource.key, "POST")


def _evict(call: Call, target: Target, body: object) -> web.Response:
    options = body.get("deleteOptions") or {} if isinstance(body, dict) else {}
    fetch(call, target)
    call.server.store.delete("pods", target.namespace, target.name, grace=options.get("gracePeriodSeconds"))
    return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)


def _bind(call: Call, target: Target, body: object) -> web.Response:
    node = (body.get("target") or {}).get("name", "") if isinstance(body, dict) else ""
    pod = fetch(call, target)
    if pod["spec"].get("nodeName"):
        raise errors.conflict("pods/binding", target.name, f"pod {target.name} is already assigned to a node")
    bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
    call.server.store.update("pods", bound)
    return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)


def _page(call: Call) -> web.StreamResponse:
    """Answer a request for a path that is no resource."""
    request, path = call.request, call.request.path.rstrip("/") or "/"
    action = Action(request.method.lower(), path=path)
    if path not in ("/version", *_HEALTH) or call.user.name == "system:anonymous":
        call.server.authorizer.require(call.user, action)
    if request.method not in ("GET", "HEAD"):
        raise errors.ApiError(405, "MethodNotAllowed", "the server does not allow this method on this path")
    accept = request.headers.get("Accept", "")
    if path == "/version":
        return json_response(version_info())
    if path in _HEALTH:
        return web.Response(text="ok")
    if path == "/openapi/v2":
        return openapi_v2(accept)
    if path.startswith("/openapi/v3"):
        return openapi_v3(call.server.kinds, call.server.schemas, path)
    if (document := discover(call.server.kinds, path, accept, request.host)) is not None:
        return document
    if path == "/":
        return json_response(
            {"paths": ["/api", "/apis", "/healthz", "/openapi/v2", "/openapi/v3", "/version"]}
        )
    raise page_not_found()
