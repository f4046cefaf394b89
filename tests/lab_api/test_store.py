# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.objects import clone
from pytest_cniconformance.lab.api.store import Store


def thing(name: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "namespace": namespace}, **more}


def versions(*objects: dict[str, Any]) -> list[int]:
    return [int(obj["metadata"]["resourceVersion"]) for obj in objects]


def test_create_sets_identity_and_update_moves_the_version() -> None:
    store = Store()
    first = store.create("things", thing("a", spec={"x": 1}))
    assert first["metadata"]["uid"]
    assert first["metadata"]["creationTimestamp"].endswith("Z")
    assert first["metadata"]["generation"] == 1
    second = store.update("things", {**first, "spec": {"x": 2}})
    assert versions(second) > versions(first)
    assert second["metadata"]["generation"] == 2
    assert first["spec"] == {"x": 1}, "objects that were handed out never change"


def test_generation_counts_changes_of_the_spec_only() -> None:
    store = Store()
    first = store.create("things", thing("a", spec={}, status={}))
    second = store.update("things", {**first, "status": {"y": 1}}, subresource="status")
    assert second["metadata"]["generation"] == 1
    assert second["status"] == {"y": 1}


def test_a_write_that_changes_nothing_keeps_the_version() -> None:
    store = Store()
    first = store.create("things", thing("a", spec={"x": 1}))
    assert store.update("things", clone(first)) is first


def test_names_are_taken_once_per_namespace() -> None:
    store = Store()
    store.create("things", thing("a", "one"))
    store.create("things", thing("a", "two"))
    with pytest.raises(ApiError, match='things "a" already exists'):
        store.create("things", thing("a", "one"))
    assert [obj["metadata"]["namespace"] for obj in store.list("things")] == ["one", "two"]
    assert len(store.list("things", "two")) == 1


def test_an_update_of_an_older_version_conflicts() -> None:
    store = Store()
    first = store.create("things", thing("a", spec={"x": 1}))
    store.update("things", {**first, "spec": {"x": 2}})
    with pytest.raises(ApiError, match="the object has been modified") as caught:
        store.update("things", {**first, "spec": {"x": 3}})
    assert caught.value.code == 409


def test_a_finalizer_holds_an_object_back() -> None:
    store = Store()
    obj = thing("a")
    obj["metadata"]["finalizers"] = ["example.org/hold"]
    store.create("things", obj)
    marked = store.delete("things", "default", "a")
    assert marked["metadata"]["deletionTimestamp"]
    free = clone(marked)
    del free["metadata"]["finalizers"]
    store.update("things", free)
    assert store.get("things", "default", "a") is None


def test_a_running_pod_goes_when_its_kubelet_says_so() -> None:
    store = Store()
    store.create("pods", thing("p", spec={"nodeName": "n", "terminationGracePeriodSeconds": 5}))
    marked = store.delete("pods", "default", "p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 5
    assert store.delete("pods", "default", "p", grace=2)["metadata"]["deletionGracePeriodSeconds"] == 2
    assert store.delete("pods", "default", "p", grace=9)["metadata"]["deletionGracePeriodSeconds"] == 2
    assert store.get("pods", "default", "p") is not None
    store.update(
        "pods", {**marked, "metadata": {**marked["metadata"], "labels": {"a": "b"}, "resourceVersion": ""}}
    )
    assert store.get("pods", "default", "p") is not None, (
        "a status write while terminating must not remove it"
    )
    store.delete("pods", "default", "p", grace=0)
    assert store.get("pods", "default", "p") is None


def test_a_pod_without_a_node_goes_at_once() -> None:
    store = Store()
    store.create("pods", thing("p", spec={}))
    store.delete("pods", "default", "p")
    assert store.list("pods") == []


def test_subscriptions_start_with_what_is_there_and_follow() -> None:
    async def follow() -> list[tuple[str, str]]:
        store = Store()
        store.create("things", thing("a"))
        store.create("others", thing("x"))
        seen = []
        with store.subscribe("things") as events:
            first = await events.batch()
            seen += [(event.type, event.object["metadata"]["name"]) for event in first]
            asyncio.get_running_loop().call_soon(store.create, "things", thing("b"))
            async for event in events:
                seen.append((event.type, event.object["metadata"]["name"]))
                if event.type == "ADDED":
                    store.delete("things", "default", "a")
                else:
                    assert event.old is not None
                    break
        return seen

    assert asyncio.run(follow()) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_old_events_can_be_had_until_the_log_has_moved_on() -> None:
    async def check() -> None:
        store = Store(log_length=3)
        start = store.create("things", thing("a"))
        later = [store.create("things", thing(name)) for name in "bcd"]
        replayed = store.subscribe("things", since=versions(start)[0]).take()
        assert [event.object for event in replayed] == later
        store.create("things", thing("e"))
        with pytest.raises(ApiError, match="too old resource version") as caught:
            store.subscribe("things", since=versions(start)[0])
        assert caught.value.code == 410

    asyncio.run(check())


def test_closing_ends_the_iteration() -> None:
    async def check() -> None:
        store = Store()
        subscription = store.subscribe("things")
        asyncio.get_running_loop().call_soon(subscription.close)
        assert [event async for event in subscription] == []
        store.create("things", thing("a"))
        assert subscription.take() == []

    asyncio.run(check())
