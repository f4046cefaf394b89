# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.makers import widget_definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab_api.conftest import Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def at(api: Api, namespace: str) -> Iterator[str]:
    created = api.ok("POST", DEFINITIONS, widget_definition())
    conditions = {one["type"]: one["status"] for one in created["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    yield f"/apis/example.org/v1/namespaces/{namespace}/widgets"
    api("DELETE", f"{DEFINITIONS}/widgets.example.org")


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def test_an_applied_definition_is_served(api: Api, at: str) -> None:
    resources = api.ok("GET", "/apis/example.org/v1")["resources"]
    assert [one["name"] for one in resources] == ["widgets", "widgets/status"]
    created = api.ok("POST", at, widget(size=3))
    assert created["spec"] == {"size": 3, "color": "red"}, "defaults come from the schema"
    assert api.ok("GET", at)["items"][0]["kind"] == "Widget", "items of custom kinds name their kind"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.size: Required value"),
        (
            {"size": "3"},
            'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
        ),
        ({"size": 12}, "spec.size: Invalid value: 12: spec.size in body should be less than or equal to 9"),
        (
            {"size": 3, "color": "green"},
            'spec.color: Unsupported value: "green": supported values: "red", "blue"',
        ),
        (
            {"size": 3, "name": "A1"},
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
    ],
)
def test_the_schema_is_enforced(api: Api, at: str, spec: Any, message: str) -> None:
    refused = api.refused(422, "POST", at, widget(**spec))
    assert refused["message"] == f'Widget.example.org "w" is invalid: {message}'


def test_undeclared_fields_are_pruned_or_refused(api: Api, at: str) -> None:
    body = widget(size=1, sise=2, target="http", extra={"anything": {"goes": 1}})
    strict = api.refused(400, "POST", at + "?fieldValidation=Strict", body)
    assert strict["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.sise"'
    )
    spec = api.ok("POST", at, body)["spec"]
    assert "sise" not in spec
    assert spec["target"] == "http"
    assert spec["extra"] == {"anything": {"goes": 1}}


def test_status_and_generation(api: Api, at: str) -> None:
    api.ok("POST", at, {**widget(size=1), "status": {"state": "early"}})
    assert "status" not in api.ok("GET", at + "/w")
    api.patch(at + "/w/status", {"status": {"state": "good"}}, "merge-patch+json")
    read = api.ok("GET", at + "/w")
    assert read["status"] == {"state": "good"}
    assert read["metadata"]["generation"] == 1
    changed = api.patch(at + "/w", {"spec": {"size": 2}}, "merge-patch+json").json()
    assert changed["metadata"]["generation"] == 2
    assert changed["status"] == {"state": "good"}


def test_custom_objects_can_be_applied(api: Api, at: str) -> None:
    params = {"fieldManager": "one"}
    first = api.patch(at + "/w", widget(size=1), "apply-patch+yaml", params=params)
    assert first.status_code == 201
    second = api.patch(at + "/w", widget(size=2), "apply-patch+yaml", params=params)
    assert second.json()["spec"]["size"] == 2
    strategic = api.patch(at + "/w", {}, "strategic-merge-patch+json")
    assert strategic.status_code == 415


def test_deleting_the_definition_ends_the_service(api: Api, at: str) -> None:
    api.ok("POST", at, widget(size=1))
    api.ok("DELETE", f"{DEFINITIONS}/widgets.example.org")
    api.refused(404, "GET", at)
    api.ok("POST", DEFINITIONS, widget_definition())
    assert api.ok("GET", at)["items"] == [], "its objects went with it"


def test_a_definition_needs_a_schema_and_a_matching_name(api: Api) -> None:
    body = widget_definition("example.net")
    body["metadata"]["name"] = "widgets.example.com"
    assert "metadata.name: Invalid value" in api.refused(422, "POST", DEFINITIONS, body)["message"]
    body = widget_definition("example.net")
    del body["spec"]["versions"][0]["schema"]
    assert "schemas are required" in api.refused(422, "POST", DEFINITIONS, body)["message"]


def test_metallb_is_served_from_the_start(api: Api) -> None:
    assert [
        one["kind"]
        for one in api.ok("GET", "/apis/metallb.io/v1beta1")["resources"]
        if "/" not in one["name"]
    ] == [
        "IPAddressPool",
        "L2Advertisement",
    ]
