# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.makers import config, pod, policy, service

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api

JSON, MERGE, STRATEGIC = "json-patch+json", "merge-patch+json", "strategic-merge-patch+json"


@pytest.fixture
def at(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def apply(api: Api, path: str, body: Any, *, manager: str = "one", **params: str) -> Any:
    return api.patch(path, body, "apply-patch+yaml", params={"fieldManager": manager, **params})


def test_json_patch(api: Api, at: str) -> None:
    api.ok("POST", at + "/configmaps", config("a", x="1", y="2"))
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "replace", "path": "/data/x", "value": "3"},
        {"op": "remove", "path": "/data/y"},
        {"op": "add", "path": "/metadata/labels", "value": {"example.org/a": "b"}},
        {"op": "replace", "path": "/metadata/labels/example.org~1a", "value": "c"},
    ]
    patched = api.patch(at + "/configmaps/a", operations, JSON).json()
    assert patched["data"] == {"x": "3"}
    assert patched["metadata"]["labels"] == {"example.org/a": "c"}
    failed = api.patch(at + "/configmaps/a", [{"op": "test", "path": "/data/x", "value": "9"}], JSON)
    assert failed.status_code == 422
    assert "test failed" in failed.json()["message"]


def test_merge_patch_removes_with_null_and_replaces_lists(api: Api, at: str) -> None:
    api.ok(
        "POST", at + "/services", service("s", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
    )
    patch = {"metadata": {"labels": {"x": "y"}}, "spec": {"selector": {"app": None}, "ports": [{"port": 90}]}}
    patched = api.patch(at + "/services/s", patch, MERGE).json()
    assert "selector" not in patched["spec"] or patched["spec"]["selector"] == {}
    assert [one["port"] for one in patched["spec"]["ports"]] == [90]
    assert patched["metadata"]["labels"] == {"x": "y"}


def test_strategic_merge_follows_the_merge_keys(api: Api, at: str) -> None:
    api.ok(
        "POST", at + "/services", service("s", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
    )
    patch = {"spec": {"ports": [{"port": 81, "targetPort": 9000}, {"port": 82, "name": "c"}]}}
    ports = api.patch(at + "/services/s", patch, STRATEGIC).json()["spec"]["ports"]
    assert {one["name"]: one["targetPort"] for one in ports} == {"a": 80, "b": 9000, "c": 82}
    patch = {"spec": {"ports": [{"port": 80, "$patch": "delete"}, {"port": 82, "$patch": "delete"}]}}
    ports = api.patch(at + "/services/s", patch, STRATEGIC).json()["spec"]["ports"]
    assert [one["name"] for one in ports] == ["b"]


def test_an_unknown_patch_type_is_refused(api: Api, at: str) -> None:
    api.ok("POST", at + "/configmaps", config("a"))
    refused = api.patch(at + "/configmaps/a", {}, "json")
    assert refused.status_code == 415
    assert refused.json()["reason"] == "UnsupportedMediaType"


def test_a_patch_that_changes_nothing_keeps_the_version(api: Api, at: str) -> None:
    created = api.ok("POST", at + "/services", service("s"))
    same = api.patch(at + "/services/s", {"spec": {"ports": [{"port": 80}]}}, STRATEGIC).json()
    assert same["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


def test_apply_creates_updates_and_lets_go(api: Api, at: str) -> None:
    path = at + "/configmaps/a"
    created = apply(api, path, config("a", x="1", y="2"))
    assert created.status_code == 201
    again = apply(api, path, config("a", x="1", y="2"))
    assert again.status_code == 200
    assert again.json()["metadata"]["resourceVersion"] == created.json()["metadata"]["resourceVersion"]
    fewer = apply(api, path, config("a", x="3")).json()
    assert fewer["data"] == {"x": "3"}, "what is no longer applied goes"


def test_apply_leaves_fields_of_others_alone(api: Api, at: str) -> None:
    path = at + "/configmaps/a"
    apply(api, path, config("a", x="1"))
    apply(api, path, config("a", y="2"), manager="two")
    merged = apply(api, path, config("a", z="3")).json()
    assert merged["data"] == {"y": "2", "z": "3"}


def test_apply_conflicts_until_forced(api: Api, at: str) -> None:
    path = at + "/configmaps/a"
    apply(api, path, config("a", x="1"))
    refused = apply(api, path, config("a", x="2"), manager="two")
    assert refused.status_code == 409
    status = refused.json()
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}
    ]
    forced = apply(api, path, config("a", x="2"), manager="two", force="true")
    assert forced.json()["data"] == {"x": "2"}
    after = apply(api, path, config("a"), manager="one")
    assert after.json()["data"] == {"x": "2"}, "the loser no longer owns the field and cannot remove it"


def test_apply_conflicts_with_what_an_update_wrote(api: Api, at: str) -> None:
    path = at + "/configmaps/a"
    api.ok("POST", at + "/configmaps?fieldManager=editor", config("a", x="1"))
    refused = apply(api, path, config("a", x="2"))
    assert (
        refused.json()["message"] == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.x'
    )
    assert apply(api, path, config("a", x="1")).ok, "the same value is no conflict"


def test_an_update_takes_a_field_from_its_applier(api: Api, at: str) -> None:
    path = at + "/configmaps/a"
    apply(api, path, config("a", x="1"))
    api.patch(path, {"data": {"x": "2"}}, MERGE, params={"fieldManager": "editor"})
    refused = apply(api, path, config("a", x="1"))
    assert refused.status_code == 409
    assert '"editor"' in refused.json()["message"]


def test_apply_merges_lists_by_their_keys(api: Api, at: str) -> None:
    path = at + "/services/s"
    apply(api, path, service("s", ports=[{"name": "a", "port": 80}]))
    merged = apply(api, path, service("s", ports=[{"name": "b", "port": 81}]), manager="two").json()
    assert [one["name"] for one in merged["spec"]["ports"]] == ["a", "b"]
    left = apply(api, path, service("s", ports=[{"name": "b", "port": 81}])).json()
    assert [one["name"] for one in left["spec"]["ports"]] == ["b"]


def test_apply_of_a_pod_again_is_no_change(api: Api, at: str) -> None:
    path = at + "/pods/p"
    assert apply(api, path, pod("p")).status_code == 201
    assert apply(api, path, pod("p")).ok
    labelled = pod("p", labels={"a": "b"})
    assert apply(api, path, labelled).json()["metadata"]["labels"] == {"a": "b"}
    assert apply(api, path, pod("p")).json()["metadata"].get("labels", {}) == {}


def test_apply_of_a_policy_replaces_its_rules(api: Api, namespace: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/np"
    apply(api, path, policy(ingress=[{"ports": [{"port": 80}]}]))
    changed = apply(api, path, policy(ingress=[{"ports": [{"port": 81}]}])).json()
    assert [rule["ports"][0]["port"] for rule in changed["spec"]["ingress"]] == [81]
    assert changed["metadata"]["generation"] == 2
    gone = apply(api, path, policy()).json()
    assert "ingress" not in gone["spec"]


def test_apply_of_an_unknown_field_is_refused(api: Api, namespace: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/np"
    refused = apply(api, path, policy(ingres=[]))
    assert refused.status_code == 500
    assert refused.json()["message"].endswith(
        "Kind=NetworkPolicy): .spec.ingres: field not declared in schema"
    )


def test_apply_reads_yaml(api: Api, cluster: Any, at: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n"
    headers = {"Content-Type": "application/apply-patch+yaml"}
    url = f"{cluster.url}{at}/configmaps/a?fieldManager=one"
    response = api.session.patch(url, data=text, headers=headers, timeout=10)
    assert response.status_code == 201
    assert response.json()["data"] == {"x": "1"}


def test_apply_needs_a_manager(api: Api, at: str) -> None:
    refused = api.patch(at + "/configmaps/a", config("a"), "apply-patch+yaml")
    assert refused.status_code == 422
    assert "fieldManager: Required value: is required for apply patch" in refused.json()["message"]
