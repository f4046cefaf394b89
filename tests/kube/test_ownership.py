# SPDX-License-Identifier: Apache-2.0
"""A run removes what it created, and never anything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pytest_cniconformance.kube import (
    ANNOTATION_EXPIRES,
    LABEL_RUN,
    Conflict,
    KubeClient,
    find_leftovers,
    own,
    sweep,
)

from .fakeapi import FakeApi, Handler, Request

HOUR = 3600.0


def namespace(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


@pytest.fixture
def cluster(api: FakeApi) -> FakeApi:
    """Two runs, one of them expired, and other people's namespaces."""
    objects = [
        own(namespace("live"), "run-live", HOUR),
        own(namespace("old"), "run-old", -HOUR),
        namespace("kube-system"),
        namespace("theirs", {"app": "cniconformance"}),
    ]
    garbled = own(namespace("garbled"), "run-garbled", HOUR)
    garbled["metadata"]["annotations"][ANNOTATION_EXPIRES] = "tomorrow"
    for obj in [*objects, garbled]:
        api.put(f"/api/v1/namespaces/{obj['metadata']['name']}", obj)
    return api


def names(found: list[Any]) -> list[str]:
    return sorted(leftover.name for leftover in found)


def test_owned_objects_carry_run_and_expiry() -> None:
    plain = namespace("a", {"keep": "me"})
    owned = own(plain, "run-1", HOUR)
    assert owned["metadata"]["labels"] == {"keep": "me", LABEL_RUN: "run-1"}
    expires = datetime.fromisoformat(owned["metadata"]["annotations"][ANNOTATION_EXPIRES])
    assert timedelta(minutes=59) < expires - datetime.now(UTC) <= timedelta(hours=1)
    assert LABEL_RUN not in plain["metadata"]["labels"], "the caller's object is not touched"
    assert own({"kind": "Pod"}, "r", 1)["metadata"]["labels"] == {LABEL_RUN: "r"}


@pytest.mark.parametrize("run_id", ["", "-a", "a b", "x" * 64, "a\nb"])
def test_a_run_id_must_be_a_label_value(run_id: str) -> None:
    with pytest.raises(ValueError, match=r"run id"):
        own(namespace("a"), run_id, HOUR)


def test_only_expired_leftovers_are_found_unless_asked(cluster: FakeApi, kube: KubeClient) -> None:
    assert names(find_leftovers(kube)) == ["old"]
    assert names(find_leftovers(kube, run_id="run-live")) == ["live"]
    assert names(find_leftovers(kube, expired_only=False)) == ["garbled", "live", "old"]
    assert names(find_leftovers(kube, now=datetime.now(UTC) + timedelta(hours=2))) == ["live", "old"]
    assert "Namespace old (run run-old, expires 2" in str(find_leftovers(kube)[0])


def test_a_sweep_removes_just_what_it_returns(cluster: FakeApi, kube: KubeClient) -> None:
    assert names(sweep(kube, find_leftovers(kube))) == ["old"]
    assert names(sweep(kube, find_leftovers(kube, run_id="run-live"))) == ["live"]
    left = sorted(path.rpartition("/")[2] for path in cluster.objects)
    assert left == ["garbled", "kube-system", "theirs"]


def test_a_server_that_ignores_selectors_endangers_nobody(cluster: FakeApi, kube: KubeClient) -> None:
    def everything(handler: Handler, request: Request) -> None:
        request.query.pop("labelSelector", None)
        cluster.answer(handler, request)

    cluster.on("GET", "/api/v1/namespaces", everything, times=9)
    assert names(sweep(kube, find_leftovers(kube, run_id="run-old"))) == ["old"]
    assert names(sweep(kube, find_leftovers(kube, expired_only=False))) == ["garbled", "live"]
    assert {path.rpartition("/")[2] for path in cluster.objects} == {"kube-system", "theirs"}


def test_an_object_that_took_the_name_meanwhile_is_left_alone(cluster: FakeApi, kube: KubeClient) -> None:
    path = "/api/v1/namespaces/old"

    def replaced(handler: Handler, request: Request) -> None:
        cluster.remove(path)
        cluster.put(path, namespace("old"))
        cluster.answer(handler, request)

    cluster.on("DELETE", path, replaced)
    assert sweep(kube, find_leftovers(kube)) == []
    assert path in cluster.objects
    with pytest.raises(Conflict):
        kube.delete("v1", "Namespace", "old", uid="another")


def test_cluster_scoped_kinds_are_swept_where_they_are_served(cluster: FakeApi, kube: KubeClient) -> None:
    api_version = "crd.projectcalico.org/v1"
    policy = {"apiVersion": api_version, "kind": "GlobalNetworkPolicy", "metadata": {"name": "deny"}}
    path = f"/apis/{api_version}/globalnetworkpolicies"
    cluster.put(f"{path}/deny", own(policy, "run-old", -HOUR))
    cluster.put(f"{path}/theirs", {"metadata": {"name": "theirs"}})
    cluster.groups[api_version] = [
        {"name": "globalnetworkpolicies", "kind": "GlobalNetworkPolicy", "namespaced": False}
    ]
    kube.api_resources(refresh=True)
    kinds = [(api_version, "GlobalNetworkPolicy"), ("cilium.io/v2", "CiliumClusterwideNetworkPolicy")]
    assert names(sweep(kube, find_leftovers(kube, kinds=kinds))) == ["deny"]
    assert [p for p in cluster.objects if p.startswith(path)] == [f"{path}/theirs"]


def test_kinds_that_may_not_be_listed_are_passed_over(cluster: FakeApi, kube: KubeClient) -> None:
    cluster.on("GET", "/api/v1/namespaces", lambda h, r: h.fail(403, "Forbidden", "no"), times=1)
    assert sweep(kube, find_leftovers(kube)) == []


def test_an_object_that_is_going_already_is_not_deleted_again(cluster: FakeApi, kube: KubeClient) -> None:
    path = "/api/v1/namespaces/old"
    cluster.put(
        path,
        {
            **cluster.objects[path],
            "metadata": {**cluster.objects[path]["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
        },
    )
    assert names(sweep(kube, find_leftovers(kube))) == ["old"]
    assert cluster.sent("DELETE") == []
