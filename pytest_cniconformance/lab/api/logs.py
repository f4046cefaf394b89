# SPDX-License-Identifier: Apache-2.0
"""Logs of containers, as plain text, followed if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.objects import name_of
from pytest_cniconformance.lab.api.paths import flag, number
from pytest_cniconformance.lab.api.remote import choose_container
from pytest_cniconformance.lab.api.seams import ContainerNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.server import Call


async def send_logs(call: Call, pod: Obj) -> web.StreamResponse:
    """Answer a log request of a pod."""
    query = call.request.query
    container = choose_container(pod, query.get("container", ""))
    _require_started(pod, container)
    tail, limit = number(query, "tailLines"), number(query, "limitBytes")
    wanted = {name: flag(query, name) for name in ("follow", "previous", "timestamps")}
    chunks = call.server.agents.logs(pod, container, tail=tail, **wanted)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    try:
        first = await _next(chunks)
    except ContainerNotFound as failure:
        raise errors.bad_request(str(failure)) from None
    await response.prepare(call.request)
    sent = 0
    while first is not None:
        chunk = first if limit is None else first[: limit - sent]
        try:
            await response.write(chunk)
        except ConnectionError:
            break  # the client left
        sent += len(chunk)
        if limit is not None and sent >= limit:
            break
        first = await _next(chunks)
    return response


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


def _require_started(pod: Obj, container: str) -> None:
    """Raise the real API's 400 while a container waits to start."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    waiting = next(
        (one.get("state", {}).get("waiting") for one in statuses if one["name"] == container), None
    )
    if not pod["spec"].get("nodeName"):
        raise errors.bad_request(f"pod {name_of(pod)} does not have a host assigned")
    if waiting is not None and waiting.get("reason") in ("ContainerCreating", "PodInitializing"):
        reason = waiting["reason"]
        text = f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {reason}'
        raise errors.bad_request(text)
