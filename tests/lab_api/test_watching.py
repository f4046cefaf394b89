# SPDX-License-Identifier: Apache-2.0
"""What a watch promises when its time is over while something happens."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_cniconformance.lab.api import watching
from pytest_cniconformance.lab.api.kinds import Resource
from pytest_cniconformance.lab.api.paths import Target
from pytest_cniconformance.lab.api.store import Store

SECRETS = Resource("", "v1", "Secret", "secrets")
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late", "namespace": "default"}}


def test_a_bookmark_comes_after_all_that_it_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who watches again begins at the bookmark: an event that it covers and that was not sent is lost for good.
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.01)
    sent: list[dict[str, Any]] = []

    async def write(data: bytes) -> None:
        sent.extend(map(json.loads, data.splitlines()))

    async def at_once() -> None:
        store, loop = Store(), asyncio.get_running_loop()
        request = SimpleNamespace(query={}, headers={})
        call: Any = SimpleNamespace(request=request)
        feed = watching._Feed(call, Target(SECRETS, "default"))
        with store.subscribe(SECRETS.key) as subscription:
            loop.call_later(0.02, store.create, SECRETS.key, SECRET)
            loop.call_soon(time.sleep, 0.05)  # a stalled server: then the end of the quiet and the event meet
            response: Any = SimpleNamespace(write=write)
            await watching._step(subscription, response, feed, True, lambda: store.version)

    asyncio.run(at_once())
    assert [event["type"] for event in sent] == ["ADDED", "BOOKMARK"]
    assert (
        sent[1]["object"]["metadata"]["resourceVersion"] == sent[0]["object"]["metadata"]["resourceVersion"]
    )
