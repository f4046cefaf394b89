# SPDX-License-Identifier: Apache-2.0
"""Lists and watches lose nothing when pages expire and streams are cut, truncated, closed or end with 410."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_cniconformance.kube import Forbidden, KubeClient, Unreachable, WaitTimeout

from .fakeapi import FakeApi, Handler, Request

PODS = "/api/v1/namespaces/x/pods"


def names(events: Iterator[tuple[str, dict[str, Any]]], count: int) -> list[tuple[str, str]]:
    found = []
    for kind, obj in events:
        found.append((kind, obj["metadata"]["name"]))
        if len(found) == count:
            break
    return found


def ready(pod: dict[str, Any] | None) -> bool:
    return bool(pod) and (pod or {}).get("status", {}).get("phase") == "Running"


def test_lists_are_read_in_pages(api: FakeApi, kube: KubeClient) -> None:
    for number in range(1203):
        api.put(f"{PODS}/p{number:04}", {"metadata": {"labels": {"app": "a" if number % 2 else "b"}}})
    found = kube.list("v1", "Pod", "x")
    assert len(found) == 1203
    assert {(obj["apiVersion"], obj["kind"]) for obj in found} == {("v1", "Pod")}
    assert [request.one("limit") for request in api.sent("GET", PODS)] == ["500"] * 3
    assert len(kube.list("v1", "Pod", labels={"app": "a"})) == 601
    assert api.sent("GET", "/api/v1/pods")[-1].one("labelSelector") == "app=a"


def test_an_expired_page_restarts_the_list(api: FakeApi, kube: KubeClient) -> None:
    for number in range(700):
        api.put(f"{PODS}/p{number:04}", {})

    def expire(handler: Handler, request: Request) -> None:
        if request.one("continue"):
            handler.fail(410, "Expired", "The provided continue parameter is too old")
        else:
            api.answer(handler, request)

    api.on("GET", PODS, expire, times=4)
    found = kube.list("v1", "Pod", "x")
    assert len({obj["metadata"]["name"] for obj in found}) == len(found) == 700
    assert api.sent("GET", PODS)[-1].one("limit") is None, "at last in one piece, which cannot expire"


def test_a_watch_starts_with_what_is_there(api: FakeApi, kube: KubeClient) -> None:
    api.put(f"{PODS}/a", {})
    events = kube.watch("v1", "Pod", "x", timeout=10)
    assert names(events, 1) == [("ADDED", "a")]
    api.put(f"{PODS}/b", {})
    api.put(f"{PODS}/a", {"x": 1})
    api.remove(f"{PODS}/b")
    assert names(events, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


def test_a_watch_ends_at_its_timeout(api: FakeApi, kube: KubeClient) -> None:
    started = time.monotonic()
    assert list(kube.watch("v1", "Pod", "x", timeout=0.3)) == []
    assert 0.3 <= time.monotonic() - started < 5


def test_a_silent_server_does_not_hold_a_watch_past_its_timeout(api: FakeApi, kube: KubeClient) -> None:
    release = threading.Event()

    def hang(handler: Handler, request: Request) -> None:
        handler.start_stream()
        release.wait(30)

    api.on("WATCH", PODS, hang, times=99)
    started = time.monotonic()
    try:
        assert list(kube.watch("v1", "Pod", "x", timeout=0.5)) == []
        assert time.monotonic() - started < 5
    finally:
        release.set()


def event(kind: str, name: str, version: int, **extra: Any) -> bytes:
    obj = {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "x", "resourceVersion": str(version)},
        **extra,
    }
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def truncated(handler: Handler, request: Request) -> None:
    """One whole event, then half of the next, then the connection is gone."""
    handler.start_stream()
    handler.chunk(event("ADDED", "one", 101) + event("ADDED", "two", 102)[:40])
    handler.cut()


def truncated_cleanly(handler: Handler, request: Request) -> None:
    handler.start_stream()
    handler.chunk(event("ADDED", "one", 101) + event("ADDED", "two", 102)[:40])
    handler.chunk(b"")


def garbled(handler: Handler, request: Request) -> None:
    handler.start_stream()
    handler.chunk(event("ADDED", "one", 101) + b'{"type": "ADDED", "obj\n')
    handler.chunk(b"")


@pytest.mark.parametrize("trouble", [truncated, truncated_cleanly, garbled])
def test_a_truncated_watch_resumes_after_the_last_whole_event(
    api: FakeApi, kube: KubeClient, trouble: Any
) -> None:
    def rest(handler: Handler, request: Request) -> None:
        assert request.one("resourceVersion") == "101"
        handler.start_stream()
        handler.chunk(event("ADDED", "two", 102))

    api.on("WATCH", PODS, trouble)
    api.on("WATCH", PODS, rest)
    assert names(kube.watch("v1", "Pod", "x", timeout=10), 2) == [("ADDED", "one"), ("ADDED", "two")]


def test_events_split_over_chunks_are_joined(api: FakeApi, kube: KubeClient) -> None:
    def dribble(handler: Handler, request: Request) -> None:
        handler.start_stream()
        for byte in event("ADDED", "ä" * 20, 101):
            handler.chunk(bytes([byte]))

    api.on("WATCH", PODS, dribble)
    assert names(kube.watch("v1", "Pod", "x", timeout=10), 1) == [("ADDED", "ä" * 20)]


def test_a_watch_without_chunks_is_read_as_it_comes(api: FakeApi, kube: KubeClient) -> None:
    """Some proxies turn a stream into HTTP/1.0 style: no length, the end is the end of the connection."""
    release = threading.Event()

    def plain(handler: Handler, request: Request) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(event("ADDED", "one", 101))
        release.wait(20)

    api.on("WATCH", PODS, plain)
    try:
        assert names(kube.watch("v1", "Pod", "x", timeout=10), 1) == [("ADDED", "one")]
    finally:
        release.set()


@pytest.mark.parametrize("as_event", [True, False], ids=["error-event", "http-410"])
def test_an_expired_version_is_made_good_by_a_list(api: FakeApi, kube: KubeClient, as_event: bool) -> None:
    api.put(f"{PODS}/stays", {})
    api.put(f"{PODS}/goes", {})
    api.put(f"{PODS}/changes", {})
    again = api.put(f"{PODS}/again", {})

    def expired(handler: Handler, request: Request) -> None:
        api.remove(f"{PODS}/goes")
        api.put(f"{PODS}/changes", {"x": 1})
        api.remove(f"{PODS}/again")
        api.put(f"{PODS}/again", {"metadata": {"uid": "another"}})
        api.put(f"{PODS}/comes", {})
        if as_event:
            handler.start_stream()
            handler.event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            handler.chunk(b"")
        else:
            handler.fail(410, "Expired", "too old")

    api.on("WATCH", PODS, expired)
    events = kube.watch("v1", "Pod", "x", timeout=10)
    names(events, 4)
    after = names(events, 5)
    assert sorted(after) == [
        ("ADDED", "again"),
        ("ADDED", "comes"),
        ("DELETED", "again"),
        ("DELETED", "goes"),
        ("MODIFIED", "changes"),
    ]
    assert again["metadata"]["name"] == "again"


def test_bookmarks_move_the_version_without_showing(api: FakeApi, kube: KubeClient) -> None:
    def bookmark(handler: Handler, request: Request) -> None:
        assert request.one("allowWatchBookmarks") == "true"
        handler.start_stream()
        handler.event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "777"}})
        handler.chunk(b"")

    def rest(handler: Handler, request: Request) -> None:
        assert request.one("resourceVersion") == "777"
        handler.start_stream()
        handler.chunk(event("ADDED", "one", 778))

    api.on("WATCH", PODS, bookmark)
    api.on("WATCH", PODS, rest)
    assert names(kube.watch("v1", "Pod", "x", timeout=10), 1) == [("ADDED", "one")]


def test_errors_in_between_are_retried(api: FakeApi, kube: KubeClient) -> None:
    def internal(handler: Handler, request: Request) -> None:
        handler.start_stream()
        handler.event("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd"})
        handler.chunk(b"")

    api.on("WATCH", PODS, lambda h, r: h.fail(429, "TooManyRequests", "later", Retry_After="0"))
    api.on("WATCH", PODS, internal)
    api.on("WATCH", PODS, lambda h, r: h.cut())
    api.put(f"{PODS}/a", {})
    events = kube.watch("v1", "Pod", "x", timeout=20)
    assert names(events, 1) == [("ADDED", "a")]
    api.put(f"{PODS}/b", {})
    assert names(events, 1) == [("ADDED", "b")]


def test_a_server_that_closes_at_once_is_not_asked_in_a_busy_loop(api: FakeApi, kube: KubeClient) -> None:
    def close(handler: Handler, request: Request) -> None:
        handler.start_stream()
        handler.chunk(b"")

    api.on("WATCH", PODS, close, times=10_000)
    assert list(kube.watch("v1", "Pod", "x", timeout=1)) == []
    assert len(api.sent("WATCH")) < 20


def test_a_refused_watch_is_an_error_at_once(api: FakeApi, kube: KubeClient) -> None:
    denied = (
        'pods is forbidden: User "jane" cannot watch resource "pods" in API group "" in the namespace "x"'
    )
    api.on("WATCH", PODS, lambda h, r: h.fail(403, "Forbidden", denied))
    with pytest.raises(Forbidden, match=r'verb "watch" on "pods" in namespace "x"'):
        list(kube.watch("v1", "Pod", "x", timeout=10))


# -- waits --------------------------------------------------------------------------------------------------------


def test_wait_for_returns_when_the_change_comes(api: FakeApi, kube: KubeClient) -> None:
    def later(handler: Handler, request: Request) -> None:
        threading.Timer(0.05, api.put, (f"{PODS}/a", {"status": {"phase": "Running"}})).start()
        api.answer(handler, request)

    api.put(f"{PODS}/a", {"status": {"phase": "Pending"}})
    api.on("WATCH", PODS, later)
    pod = kube.wait_for("v1", "Pod", ready, name="a", namespace="x", timeout=10, what="Running")
    assert pod["status"]["phase"] == "Running"
    assert len(api.sent("GET", PODS)) == 1, "one list, one watch, no polling"
    assert api.sent("WATCH")[0].one("fieldSelector") == "metadata.name=a"


def test_wait_for_can_wait_until_nothing_is_left(api: FakeApi, kube: KubeClient) -> None:
    assert (
        kube.wait_for("v1", "Pod", lambda pod: pod is None, name="a", namespace="x", timeout=5, what="gone")
        == {}
    )

    def remove(handler: Handler, request: Request) -> None:
        threading.Timer(0.05, api.remove, (f"{PODS}/a",)).start()
        api.answer(handler, request)

    api.put(f"{PODS}/a", {"metadata": {"labels": {"app": "a"}}})
    api.on("WATCH", PODS, remove)
    gone = kube.wait_for(
        "v1", "Pod", lambda pod: pod is None, labels={"app": "a"}, namespace="x", timeout=5, what="gone"
    )
    assert gone == {}


def test_wait_for_all_follows_many_objects_with_one_watch(api: FakeApi, kube: KubeClient) -> None:
    wanted = [f"p{number}" for number in range(9)]

    def run(handler: Handler, request: Request) -> None:
        def start() -> None:
            for name in wanted:
                api.put(f"{PODS}/{name}", {"status": {"phase": "Running"}})

        threading.Timer(0.02, start).start()
        api.answer(handler, request)

    for name in wanted[:5]:
        api.put(f"{PODS}/{name}", {"status": {"phase": "Pending"}})
    api.on("WATCH", PODS, run)
    found = kube.wait_for_all("v1", "Pod", ready, names=wanted, namespace="x", timeout=10, what="Running")
    assert sorted(found) == wanted
    assert len(api.sent("WATCH")) == 1


def test_a_wait_that_fails_says_what_is_there_instead(api: FakeApi, kube: KubeClient) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "python:nope"'}
    api.put(
        f"{PODS}/a",
        {
            "kind": "Pod",
            "status": {
                "phase": "Pending",
                "containerStatuses": [{"name": "agent", "ready": False, "state": {"waiting": waiting}}],
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "noise"}
                ],
            },
        },
    )
    api.put(
        "/api/v1/namespaces/x/events/e1",
        {
            "involvedObject": {"name": "a", "kind": "Pod"},
            "type": "Warning",
            "reason": "Failed",
            "message": "pull access denied",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        },
    )
    with pytest.raises(WaitTimeout) as caught:
        kube.wait_for("v1", "Pod", ready, name="a", namespace="x", timeout=0.3, what="Ready")
    assert str(caught.value) == (
        "wait for Pod x/a: waited 0.3 s for Ready; last seen: phase Pending; container agent waiting: "
        'ImagePullBackOff: Back-off pulling image "python:nope"; events: Failed: pull access denied'
    )


def test_a_wait_for_many_names_those_that_are_missing(api: FakeApi, kube: KubeClient) -> None:
    api.put(f"{PODS}/a", {"status": {"phase": "Running"}})
    api.put(f"{PODS}/b", {"status": {"phase": "Pending"}})
    with pytest.raises(WaitTimeout) as caught:
        kube.wait_for_all(
            "v1", "Pod", ready, names=["a", "b", "c"], namespace="x", timeout=0.3, what="Running"
        )
    text = str(caught.value)
    assert "2 of 3 are not there yet" in text
    assert "b: phase Pending" in text
    assert "c: does not exist" in text


def test_a_wait_on_an_api_that_is_gone_says_so(api: FakeApi, kube: KubeClient) -> None:
    api.on("GET", PODS, lambda h, r: h.cut(), times=999)
    with pytest.raises(Unreachable, match=r"broke"):
        kube.wait_for("v1", "Pod", ready, name="a", namespace="x", timeout=0.5, what="Ready")


def test_a_wait_outlives_an_api_server_restart(api: FakeApi, kube: KubeClient) -> None:
    api.put(f"{PODS}/a", {"status": {"phase": "Pending"}})

    def restart(handler: Handler, request: Request) -> None:
        api.put(f"{PODS}/a", {"status": {"phase": "Running"}})
        handler.cut()

    api.on("WATCH", PODS, restart)
    api.on("WATCH", PODS, lambda h, r: h.fail(503, "ServiceUnavailable", "starting"), times=2)
    assert kube.wait_for("v1", "Pod", ready, name="a", namespace="x", timeout=10, what="Ready")
