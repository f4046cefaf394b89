# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.makers import config, pod, policy

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api


def path(namespace: str, plural: str = "configmaps", name: str = "") -> str:
    prefix = {"networkpolicies": "/apis/networking.k8s.io/v1"}.get(plural, "/api/v1")
    return f"{prefix}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


def test_an_object_lives_through_all_verbs(api: Api, namespace: str) -> None:
    created = api("POST", path(namespace), config("a", x="1"))
    assert created.status_code == 201
    first = created.json()
    assert first["kind"] == "ConfigMap"
    read = api.ok("GET", path(namespace, name="a"))
    assert read == first
    read["data"]["x"] = "2"
    second = api.ok("PUT", path(namespace, name="a"), read)
    assert second["data"] == {"x": "2"}
    stale = api.refused(409, "PUT", path(namespace, name="a"), first)
    assert stale["reason"] == "Conflict"
    assert stale["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    gone = api.ok("DELETE", path(namespace, name="a"))
    assert gone["status"] == "Success"
    assert gone["details"]["uid"] == first["metadata"]["uid"]
    missing = api.refused(404, "GET", path(namespace, name="a"))
    assert missing["message"] == 'configmaps "a" not found'
    assert missing["details"] == {"name": "a", "kind": "configmaps"}


def test_messages_name_the_group(api: Api, namespace: str) -> None:
    missing = api.refused(404, "GET", path(namespace, "networkpolicies", "x"))
    assert missing["message"] == 'networkpolicies.networking.k8s.io "x" not found'
    assert missing["details"] == {"name": "x", "group": "networking.k8s.io", "kind": "networkpolicies"}
    api.ok("POST", path(namespace, "networkpolicies"), policy("x"))
    again = api.refused(409, "POST", path(namespace, "networkpolicies"), policy("x"))
    assert again["message"] == 'networkpolicies.networking.k8s.io "x" already exists'
    assert again["reason"] == "AlreadyExists"


def test_unknown_paths_and_namespaces_are_404(api: Api) -> None:
    assert api.refused(404, "GET", "/apis/nothing.example/v1/things")["reason"] == "NotFound"
    assert api.refused(404, "GET", "/api/v1/namespaces/default/nothings")["reason"] == "NotFound"
    absent = api.refused(404, "POST", path("absent"), config())
    assert absent["message"] == 'namespaces "absent" not found'


def test_a_body_may_leave_out_what_the_path_says(api: Api, namespace: str) -> None:
    body = {"metadata": {"generateName": "gen-"}, "data": None}
    created = api.ok("POST", path(namespace), body)
    assert created["metadata"]["name"].startswith("gen-")
    assert len(created["metadata"]["name"]) == 9
    assert "data" not in created
    wrong = {**config(), "metadata": {"name": "a", "namespace": "other"}}
    assert (
        "does not match the namespace sent on the request"
        in api.refused(400, "POST", path(namespace), wrong)["message"]
    )
    wrong = {**config(), "kind": "Secret"}
    assert api.refused(400, "POST", path(namespace), wrong)["reason"] == "BadRequest"


def test_a_dry_run_changes_nothing(api: Api, namespace: str) -> None:
    created = api("POST", path(namespace) + "?dryRun=All", config("a"))
    assert created.status_code == 201
    assert created.json()["metadata"]["uid"]
    api.refused(404, "GET", path(namespace, name="a"))
    kept = api.ok("POST", path(namespace), config("a", x="1"))
    api.ok("PUT", path(namespace, name="a") + "?dryRun=All", config("a", x="2"))
    api.ok("DELETE", path(namespace, name="a") + "?dryRun=All")
    assert api.ok("GET", path(namespace, name="a")) == kept


def test_unknown_fields_follow_field_validation(api: Api, namespace: str) -> None:
    body = policy("typo", ingres=[{"ports": [{"port": 80, "protokol": "TCP"}]}])
    at = path(namespace, "networkpolicies")
    strict = api.refused(400, "POST", at + "?fieldValidation=Strict", body)
    assert strict["message"] == (
        'NetworkPolicy in version "v1" cannot be handled as a NetworkPolicy: '
        'strict decoding error: unknown field "spec.ingres"'
    )
    warned = api("POST", at + "?fieldValidation=Warn", body)
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.ingres\\""'
    assert "ingres" not in warned.json()["spec"]
    body["metadata"]["name"] = "ignored"
    ignored = api("POST", at + "?fieldValidation=Ignore", body)
    assert ignored.status_code == 201
    assert "Warning" not in ignored.headers
    nested = policy("nested", ingress=[{"ports": [{"port": 80, "protokol": "TCP"}]}])
    strict = api.refused(400, "POST", at + "?fieldValidation=Strict", nested)
    assert strict["message"].endswith('unknown field "spec.ingress[0].ports[0].protokol"')


def test_a_wrong_type_is_a_bad_request(api: Api, namespace: str) -> None:
    body = policy("t", ingress=[{"ports": [{"port": 80, "endPort": "90"}]}])
    refused = api.refused(400, "POST", path(namespace, "networkpolicies"), body)
    assert (
        "json: cannot unmarshal string into Go struct field NetworkPolicyPort.spec.ingress.ports.endPort of type int32"
        in (refused["message"])
    )


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", ["a", "b", "c"]),
        ("app=web", ["a"]),
        ("app==web", ["a"]),
        ("app!=web", ["b", "c"]),
        ("app", ["a", "b"]),
        ("!app", ["c"]),
        ("app in (web, db)", ["a", "b"]),
        ("app notin (web)", ["b", "c"]),
        ("app,tier=back", ["b"]),
        ("tier in (front,back),app=web", ["a"]),
    ],
)
def test_label_selectors(api: Api, namespace: str, selector: str, expected: list[str]) -> None:
    for name, labels in (
        ("a", {"app": "web", "tier": "front"}),
        ("b", {"app": "db", "tier": "back"}),
        ("c", {}),
    ):
        body = config(name)
        body["metadata"]["labels"] = labels
        api.ok("POST", path(namespace), body)
    listed = api.ok("GET", path(namespace), params={"labelSelector": selector})
    assert [name for name in names(listed) if name != "kube-root-ca.crt"] == expected


def test_field_selectors(api: Api, namespace: str) -> None:
    for name in ("a", "b"):
        api.ok(
            "POST",
            path(namespace, "pods"),
            pod(name, nodeName="lab-worker2" if name == "b" else "lab-worker1"),
        )
    on_node = {"fieldSelector": "spec.nodeName=lab-worker2"}
    assert names(api.ok("GET", path(namespace, "pods"), params=on_node)) == ["b"]
    assert names(api.ok("GET", path(namespace, "pods"), params={"fieldSelector": "metadata.name!=b"})) == [
        "a"
    ]
    everywhere = api.ok("GET", "/api/v1/pods", params={"fieldSelector": f"metadata.namespace={namespace}"})
    assert names(everywhere) == ["a", "b"]
    refused = api.refused(400, "GET", path(namespace, "pods"), params={"fieldSelector": "spec.color=red"})
    assert refused["message"] == "field label not supported: spec.color"


def test_lists_of_built_in_kinds_omit_kind_in_items_as_the_real_api_does(api: Api, namespace: str) -> None:
    api.ok("POST", path(namespace), config("a"))
    listed = api.ok("GET", path(namespace))
    assert listed["kind"] == "ConfigMapList"
    assert all("kind" not in item and "apiVersion" not in item for item in listed["items"])
    assert int(listed["metadata"]["resourceVersion"]) > 0


def test_pages_are_of_one_moment(api: Api, namespace: str) -> None:
    for number in range(5):
        api.ok("POST", path(namespace, "networkpolicies"), policy(f"n{number}"))
    at = path(namespace, "networkpolicies")
    first = api.ok("GET", at, params={"limit": 2})
    assert names(first) == ["n0", "n1"]
    assert first["metadata"]["remainingItemCount"] == 3
    api.ok("DELETE", at + "/n3")
    second = api.ok("GET", at, params={"limit": 2, "continue": first["metadata"]["continue"]})
    assert names(second) == ["n2", "n3"]
    third = api.ok("GET", at, params={"limit": 2, "continue": second["metadata"]["continue"]})
    assert names(third) == ["n4"]
    assert "continue" not in third["metadata"]
    refused = api.refused(400, "GET", at, params={"continue": "nonsense"})
    assert refused["reason"] == "BadRequest"


def test_deletecollection_honours_selectors(api: Api, namespace: str) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        body = policy(name)
        body["metadata"]["labels"] = {"color": color}
        api.ok("POST", path(namespace, "networkpolicies"), body)
    api.ok("DELETE", path(namespace, "networkpolicies"), params={"labelSelector": "color=red"})
    assert names(api.ok("GET", path(namespace, "networkpolicies"))) == ["b"]


def test_delete_preconditions(api: Api, namespace: str) -> None:
    created = api.ok("POST", path(namespace), config("a"))
    wrong = {"preconditions": {"uid": "someone-else"}}
    refused = api.refused(409, "DELETE", path(namespace, name="a"), wrong)
    assert "Precondition failed: UID in precondition: someone-else" in refused["message"]
    api.ok("DELETE", path(namespace, name="a"), {"preconditions": {"uid": created["metadata"]["uid"]}})


def test_status_is_written_through_its_subresource_only(api: Api, namespace: str) -> None:
    api.ok("POST", path(namespace, "pods"), pod("p", nodeName="lab-worker1"))
    at = path(namespace, "pods", "p")
    body = api.ok("GET", at)
    body["status"]["phase"] = "Failed"
    assert api.ok("PUT", at, body)["status"]["phase"] != "Failed"
    patched = api.patch(at + "/status", {"status": {"message": "hello"}}, "merge-patch+json").json()
    assert patched["status"]["message"] == "hello"


class Watch:
    """The events of a watch response."""

    def __init__(self, response: Any) -> None:
        self._lines = response.iter_lines(chunk_size=None)

    def next(self, count: int = 1) -> list[dict[str, Any]]:
        return [json.loads(next(self._lines)) for _ in range(count)]


def test_watch_follows_from_a_version(api: Api, namespace: str) -> None:
    at = path(namespace, "networkpolicies")
    version = api.ok("GET", at)["metadata"]["resourceVersion"]
    api.ok("POST", at, policy("a"))
    with api("GET", at, params={"watch": "1", "resourceVersion": version}, stream=True) as response:
        events = Watch(response)
        (added,) = events.next()
        assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "a")
        assert added["object"]["kind"] == "NetworkPolicy"
        api.patch(at + "/a", {"metadata": {"labels": {"x": "y"}}}, "merge-patch+json")
        api.ok("DELETE", at + "/a")
        kinds = [event["type"] for event in events.next(2)]
        assert kinds == ["MODIFIED", "DELETED"]


def test_watch_sees_objects_enter_and_leave_its_selection(api: Api, namespace: str) -> None:
    at = path(namespace, "networkpolicies")
    api.ok("POST", at, policy("a"))
    with api("GET", at, params={"watch": "1", "labelSelector": "x=y"}, stream=True) as response:
        api.patch(at + "/a", {"metadata": {"labels": {"x": "y"}}}, "merge-patch+json")
        api.patch(at + "/a", {"metadata": {"labels": {"x": "z"}}}, "merge-patch+json")
        assert [event["type"] for event in Watch(response).next(2)] == ["ADDED", "DELETED"]


def test_watch_ends_after_its_timeout_with_a_bookmark(api: Api, namespace: str) -> None:
    params = {"watch": "1", "timeoutSeconds": "1", "allowWatchBookmarks": "true", "resourceVersion": "0"}
    events = [json.loads(line) for line in api("GET", path(namespace, "secrets"), params=params).iter_lines()]
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert int(events[0]["object"]["metadata"]["resourceVersion"]) > 0


def test_watch_from_a_version_that_is_gone_says_so(api: Api, namespace: str, cluster: Any) -> None:
    log = cluster.store._log
    cluster.do(lambda: (setattr(cluster.store, "_forgotten", log[-1].version), log.clear()))
    response = api("GET", path(namespace), params={"watch": "1", "resourceVersion": "1"})
    event = json.loads(response.text)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
