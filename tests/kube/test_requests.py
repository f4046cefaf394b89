# SPDX-License-Identifier: Apache-2.0
"""Requests get through an API server that throttles, fails and drops connections, and are never done twice."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pytest_cniconformance.kube import (
    LABEL_RUN,
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    ServerError,
    TooManyRequests,
    UnknownKind,
    own,
)
from pytest_cniconformance.model.failure import ClusterError

from .fakeapi import FakeApi, Handler, Request

POD = "/api/v1/namespaces/x/pods/a"


def config_map(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "x", **metadata},
        "data": {"k": "v"},
    }


def busy(status: int, reason: str = "", **headers: str) -> Any:
    return lambda handler, request: handler.fail(status, reason, "try later", **headers)


def cut(handler: Handler, request: Request) -> None:
    handler.cut()


def cut_in_body(handler: Handler, request: Request) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"kind": "Pod", "metad')
    handler.cut()


def created_but_cut(handler: Handler, request: Request) -> None:
    """The object is there, the answer never arrives."""
    handler.server.api.put(f"{request.path}/{request.body['metadata']['name']}", request.body)
    handler.cut()


@pytest.mark.parametrize(
    "trouble",
    [
        busy(429, "TooManyRequests", Retry_After="0"),
        busy(500, "InternalError"),
        busy(502),
        busy(503),
        busy(504, "Timeout"),
        cut,
        cut_in_body,
    ],
    ids=["429", "500", "502", "503", "504", "cut", "cut-in-body"],
)
def test_reads_outlive_a_burst_of_trouble(api: FakeApi, kube: KubeClient, trouble: Any) -> None:
    api.put(POD, {})
    api.on("GET", POD, trouble, times=3)
    assert kube.get("v1", "Pod", "a", "x")["metadata"]["name"] == "a"
    assert len(api.sent("GET", POD)) == 4


def test_retry_after_is_waited_for(api: FakeApi, kube: KubeClient) -> None:
    api.put(POD, {})
    api.on("GET", POD, busy(429, "TooManyRequests", Retry_After="1"))
    started = time.monotonic()
    kube.get("v1", "Pod", "a", "x")
    assert time.monotonic() - started >= 1


def test_a_retry_after_beyond_the_budget_is_not_waited_for(api: FakeApi, kube: KubeClient) -> None:
    api.on("GET", POD, busy(429, "TooManyRequests", Retry_After="3600"), times=99)
    with pytest.raises(TooManyRequests, match=r"overloaded"):
        kube.get("v1", "Pod", "a", "x")
    assert len(api.sent("GET", POD)) == 1


def test_retries_end_with_the_budget(api: FakeApi, kube: KubeClient) -> None:
    kube._transport.timeouts = kube.timeouts.scaled(0.1)
    api.on("GET", POD, busy(503, "ServiceUnavailable"), times=999)
    with pytest.raises(ServerError, match=r"get Pod x/a: HTTP 503 ServiceUnavailable: try later") as caught:
        kube.get("v1", "Pod", "a", "x")
    assert caught.value.attempts > 1
    assert isinstance(caught.value, ClusterError)


def test_a_slow_answer_is_given_up_and_asked_for_again(api: FakeApi, kube: KubeClient) -> None:
    release = threading.Event()

    def hang(handler: Handler, request: Request) -> None:
        release.wait(20)
        handler.cut()

    api.put(POD, {})
    api.on("GET", POD, hang)
    kube._transport.timeouts = kube.timeouts.scaled(0.1)
    try:
        assert kube.get("v1", "Pod", "a", "x")
    finally:
        release.set()


def test_closing_the_client_ends_retries(api: FakeApi, kube: KubeClient) -> None:
    api.on("GET", POD, busy(503, Retry_After="4"), times=99)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            kube.get("v1", "Pod", "a", "x")
        except ServerError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not api.sent("GET", POD):
        time.sleep(0.001)
    kube.close()
    thread.join(3)
    assert not thread.is_alive()
    assert failures


def test_create_is_not_repeated_blindly(api: FakeApi, kube: KubeClient) -> None:
    """A lost answer leaves it open who created the object; without a run id it may be somebody else's."""
    api.on("POST", ".*/configmaps", created_but_cut)
    with pytest.raises(AlreadyExists):
        kube.create(config_map())


def test_create_adopts_its_own_object_when_the_answer_was_lost(api: FakeApi, kube: KubeClient) -> None:
    api.on("POST", ".*/configmaps", created_but_cut)
    obj = own(config_map(), "run-1", 60)
    assert kube.create(obj)["metadata"]["labels"] == {LABEL_RUN: "run-1"}
    assert len(api.sent("POST")) == 2


def test_create_never_adopts_the_object_of_another_run(api: FakeApi, kube: KubeClient) -> None:
    api.put("/api/v1/namespaces/x/configmaps/a", own(config_map(), "other", 60))
    api.on("POST", ".*/configmaps", busy(503))
    with pytest.raises(AlreadyExists, match=r"create ConfigMap x/a: .*already exists. Remove it"):
        kube.create(own(config_map(), "run-1", 60))


def test_generated_names_are_not_created_twice(api: FakeApi, kube: KubeClient) -> None:
    api.on("POST", ".*/configmaps", cut)
    obj = config_map(generateName="a-")
    del obj["metadata"]["name"]
    with pytest.raises(ClusterError):
        kube.create(obj)
    assert len(api.sent("POST")) == 1


def test_a_pod_created_before_its_service_account_is_tried_again(api: FakeApi, kube: KubeClient) -> None:
    message = 'pods "a" is forbidden: error looking up service account x/default: serviceaccount "default" not found'
    api.on("POST", ".*/pods", lambda h, r: h.fail(403, "Forbidden", message), times=2)
    assert kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "x"}})


def test_delete_that_worked_unheard_is_no_error(api: FakeApi, kube: KubeClient) -> None:
    def gone_but_cut(handler: Handler, request: Request) -> None:
        api.remove(request.path)
        handler.cut()

    api.put(POD, {})
    api.on("DELETE", POD, gone_but_cut)
    kube.delete("v1", "Pod", "a", "x", missing_ok=False)


def test_delete_of_something_missing_is_an_error_only_if_asked(api: FakeApi, kube: KubeClient) -> None:
    kube.delete("v1", "Pod", "a", "x")
    with pytest.raises(NotFound, match=r"delete Pod x/a"):
        kube.delete("v1", "Pod", "a", "x", missing_ok=False)


def test_delete_sends_grace_and_background_propagation(api: FakeApi, kube: KubeClient) -> None:
    api.put(POD, {})
    kube.delete("v1", "Pod", "a", "x", grace=0)
    body = api.sent("DELETE")[0].body
    assert (body["gracePeriodSeconds"], body["propagationPolicy"]) == (0, "Background")


def test_apply_is_a_forced_server_side_apply_of_the_intent_only(api: FakeApi, kube: KubeClient) -> None:
    obj = config_map(managedFields=[{"manager": "kubectl"}], resourceVersion="7", uid="u", labels={"a": "b"})
    kube.apply(obj | {"status": {"x": 1}})
    request = api.sent("PATCH")[0]
    assert request.headers["content-type"] == "application/apply-patch+yaml"
    assert request.one("fieldManager") == "cniconformance"
    assert (request.one("force"), request.one("fieldValidation")) == ("true", "Strict")
    assert request.body["metadata"] == {"name": "a", "namespace": "x", "labels": {"a": "b"}}
    assert "status" not in request.body
    assert obj["metadata"]["uid"] == "u", "the caller's object is not touched"


def test_apply_and_patch_outlive_a_conflict(api: FakeApi, kube: KubeClient) -> None:
    api.on("PATCH", ".*", busy(409, "Conflict"), times=2)
    assert kube.apply(config_map())
    api.on("PATCH", ".*", busy(409, "Conflict"))
    assert kube.patch("v1", "ConfigMap", "a", {"data": {"k": None}}, "x")
    assert api.sent("PATCH")[-1].headers["content-type"] == "application/merge-patch+json"


def test_an_endless_conflict_is_reported(api: FakeApi, kube: KubeClient) -> None:
    kube._transport.timeouts = kube.timeouts.scaled(0.1)
    api.on("PATCH", ".*", busy(409, "Conflict"), times=999)
    with pytest.raises(Conflict):
        kube.apply(config_map())


def test_rejected_content_names_the_fields(api: FakeApi, kube: KubeClient) -> None:
    causes = [{"field": "spec.podSelector", "message": "Required value"}]
    api.on("PATCH", ".*", lambda h, r: h.fail(422, "Invalid", "NetworkPolicy is invalid", causes))
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    with pytest.raises(Invalid) as caught:
        kube.apply(policy | {"metadata": {"name": "deny", "namespace": "x"}})
    assert str(caught.value).startswith(
        "apply NetworkPolicy x/deny: NetworkPolicy is invalid (spec.podSelector: Req"
    )
    assert caught.value.causes == ("spec.podSelector: Required value",)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


def test_a_misspelt_field_in_an_apply_is_not_retried_as_a_server_error(
    api: FakeApi, kube: KubeClient
) -> None:
    message = "failed to create typed patch object (x/a): .spec.ingres: field not declared in schema"
    api.on("PATCH", ".*", lambda h, r: h.fail(500, "", message), times=99)
    with pytest.raises(Invalid, match=r"ingres"):
        kube.apply(config_map())
    assert len(api.sent("PATCH")) == 1


def test_a_denied_request_names_the_missing_permission(api: FakeApi, kube: KubeClient) -> None:
    message = (
        'configmaps "a" is forbidden: User "jane" cannot create resource "configmaps" '
        'in API group "" in the namespace "x"'
    )
    api.on("PATCH", ".*", lambda h, r: h.fail(403, "Forbidden", message))
    with pytest.raises(Forbidden) as caught:
        kube.apply(config_map())
    assert 'verb "create" on "configmaps" in namespace "x"' in str(caught.value)
    assert "kubectl auth can-i create configmaps -n x" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ('violates PodSecurity "restricted:latest": runAsNonRoot', "enforce=privileged"),
        ("exceeded quota: compute", "ResourceQuota"),
        ("unable to create new content in namespace x because it is being terminated", "being deleted"),
        ('admission webhook "policy.example" denied the request: no', "exempt namespaces"),
    ],
)
def test_admission_refusals_are_not_taken_for_missing_permissions(
    api: FakeApi, kube: KubeClient, message: str, advice: str
) -> None:
    api.on("POST", ".*", lambda h, r: h.fail(403, "Forbidden", message))
    with pytest.raises(Forbidden) as caught:
        kube.create(config_map())
    assert advice in str(caught.value)
    assert "Missing permission" not in str(caught.value)


def test_a_kind_that_is_not_served_says_what_to_install(api: FakeApi, kube: KubeClient) -> None:
    with pytest.raises(UnknownKind, match=r"Install the CRDs of group cilium.io"):
        kube.list("cilium.io/v2", "CiliumNetworkPolicy", "x")
    api.groups["cilium.io/v2"] = [
        {"name": "ciliumnetworkpolicies", "kind": "CiliumNetworkPolicy", "namespaced": True},
        {"name": "ciliumnetworkpolicies/status", "kind": "CiliumNetworkPolicy", "namespaced": True},
    ]
    assert kube.has("cilium.io/v2", "CiliumNetworkPolicy", refresh=True), "a CRD installed meanwhile is found"
    assert kube.resource("cilium.io/v2", "CiliumNetworkPolicy").full_name == "ciliumnetworkpolicies.cilium.io"


def test_aggregated_discovery_is_understood(api: FakeApi, kube: KubeClient) -> None:
    def aggregated(handler: Handler, request: Request) -> None:
        assert "APIGroupDiscoveryList" in request.headers["accept"]
        kind = {
            "resource": "networkpolicies",
            "responseKind": {"kind": "NetworkPolicy"},
            "scope": "Namespaced",
        }
        groups = (
            []
            if request.path == "/api"
            else [
                {
                    "metadata": {"name": "networking.k8s.io"},
                    "versions": [{"version": "v1", "resources": [kind]}],
                }
            ]
        )
        handler.json(200, {"kind": "APIGroupDiscoveryList", "items": groups})

    api.on("GET", "/apis?", aggregated, times=2)
    assert kube.api_resources() == {("networking.k8s.io/v1", "NetworkPolicy")}
    assert kube.has("networking.k8s.io/v1", "NetworkPolicy")
    assert not kube.has("apps/v1", "DaemonSet")


def test_a_broken_aggregated_api_does_not_hide_the_others(api: FakeApi, kube: KubeClient) -> None:
    api.groups["metrics.k8s.io/v1beta1"] = []
    api.groups["cilium.io/v2"] = [{"name": "things", "kind": "Thing", "namespaced": False}]
    api.on("GET", "/apis/metrics.*", busy(503, Retry_After="60"), times=1)
    assert kube.api_resources() == {("cilium.io/v2", "Thing")}
    api.groups["metrics.k8s.io/v1beta1"] = [{"name": "nodes", "kind": "NodeMetrics", "namespaced": False}]
    assert kube.has("metrics.k8s.io/v1beta1", "NodeMetrics"), (
        "what could not be asked is asked when it matters"
    )
    assert not kube.has("cilium.io/v2", "Other")


def test_permissions_are_asked_for_with_their_subresource(api: FakeApi, kube: KubeClient) -> None:
    api.denied.add(("create", "pods/exec"))
    assert not kube.can_i("create", "", "pods/exec", "x")
    assert kube.can_i("get", "", "pods")
    asked = api.sent("POST")[0].body["spec"]["resourceAttributes"]
    assert asked == {"verb": "create", "resource": "pods", "subresource": "exec", "namespace": "x"}


def test_logs_are_text(api: FakeApi, kube: KubeClient) -> None:
    assert kube.logs("x", "a", tail=5) == "log tail=5\n"


def test_pykube_speaks_to_the_same_cluster(api: FakeApi, kube: KubeClient) -> None:
    api.put(POD, {})
    with kube.pykube().session as session:
        del session
        client = kube.pykube()
        answer = client.get(version="v1", url="pods", namespace="x")
        assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["a"]
        answer.close()
        client.session.close()
    assert api.requests[-1].headers["authorization"].startswith("Bearer ")


def test_an_answer_that_is_no_json_is_explained(api: FakeApi, kube: KubeClient) -> None:
    api.on("GET", POD, lambda h, r: h.raw(200, b"<html><body>Sign in</body></html>"))
    with pytest.raises(ServerError, match=r"login page"):
        kube.get("v1", "Pod", "a", "x")
    api.on("GET", POD, lambda h, r: h.raw(404, b"<html><body>No  such\n page</body></html>"))
    with pytest.raises(NotFound, match=r"No such page"):
        kube.get("v1", "Pod", "a", "x")
