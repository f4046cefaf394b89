# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.conftest import Api
from tests.lab_api.eventually import eventually
from tests.lab_api.fakes import NOBODY_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab_api.fakes import FakeCluster

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def nobody(cluster: FakeCluster) -> Iterator[Api]:
    api = Api(cluster, NOBODY_TOKEN)
    yield api
    api.session.close()


def test_a_wrong_token_is_unauthorized(cluster: FakeCluster) -> None:
    api = Api(cluster, "wrong")
    status = api.refused(401, "GET", "/api/v1/pods")
    assert (status["reason"], status["message"]) == ("Unauthorized", "Unauthorized")
    api.session.close()


def test_without_a_token_only_public_paths_are_open(cluster: FakeCluster) -> None:
    api = Api(cluster, None)
    assert api.ok("GET", "/version")["major"] == "1"
    assert api("GET", "/healthz").text == "ok"
    status = api.refused(403, "GET", "/api/v1/nodes")
    assert status["message"] == (
        'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert (
        api.refused(403, "GET", "/apis")["message"]
        == 'forbidden: User "system:anonymous" cannot get path "/apis"'
    )
    api.session.close()


def test_forbidden_messages(nobody: Api) -> None:
    status = nobody.refused(403, "GET", "/api/v1/namespaces/default/pods/x")
    assert status["message"] == (
        'pods "x" is forbidden: User "nobody" cannot get resource "pods" in API group "" in the namespace "default"'
    )
    status = nobody.refused(403, "POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", {})
    assert status["message"] == (
        'networkpolicies.networking.k8s.io is forbidden: User "nobody" cannot create resource "networkpolicies" '
        'in API group "networking.k8s.io" in the namespace "default"'
    )


def may(
    api: Api, verb: str, resource: str, namespace: str = "", group: str = "", subresource: str = ""
) -> bool:
    attributes = {
        "verb": verb,
        "resource": resource,
        "namespace": namespace,
        "group": group,
        "subresource": subresource,
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.ok("POST", path, {"spec": {"resourceAttributes": attributes}})
    allowed: bool = answer["status"]["allowed"]
    return allowed


def test_access_reviews(api: Api, nobody: Api) -> None:
    assert may(api, "create", "pods", "default")
    assert not may(nobody, "create", "pods", "default")
    me = nobody.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert me["status"]["userInfo"]["username"] == "nobody"


def test_stored_roles_grant_rights(api: Api, nobody: Api, namespace: str) -> None:
    role = {
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "create"]}],
    }
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "nobody"}],
    }
    base = f"/apis/{RBAC}/v1/namespaces/{namespace}"
    api.ok("POST", base + "/roles", role)
    stored = api.ok("POST", base + "/rolebindings", binding)
    assert stored["subjects"][0]["apiGroup"] == RBAC
    assert may(nobody, "get", "pods", namespace)
    assert may(nobody, "create", "pods", namespace, subresource="exec")
    assert not may(nobody, "delete", "pods", namespace)
    assert not may(nobody, "get", "pods", "default")


def token_of(api: Api, namespace: str, name: str = "default") -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    eventually(lambda: api("GET", path.removesuffix("/token")).ok)
    answer = api.ok("POST", path, {"spec": {"expirationSeconds": 600}})
    token: str = answer["status"]["token"]
    return token


@pytest.mark.parametrize(("namespace_of_account", "allowed"), [("kube-system", True), ("default", False)])
def test_service_accounts_of_kube_system_follow_the_network(
    api: Api, cluster: FakeCluster, namespace_of_account: str, allowed: bool
) -> None:
    account = Api(cluster, token_of(api, namespace_of_account))
    assert account.ok("GET", "/apis")["groups"]
    for path in (
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/api/v1/pods",
        "/api/v1/namespaces",
    ):
        assert account("GET", path).ok == allowed
    assert not account("GET", "/api/v1/secrets").ok
    account.session.close()


def test_a_token_dies_with_its_account(api: Api, cluster: FakeCluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api.ok("POST", path, {"metadata": {"name": "short"}})
    account = Api(cluster, token_of(api, namespace, "short"))
    account.ok("GET", "/apis")
    api.ok("DELETE", path + "/short")
    account.refused(401, "GET", "/apis")
    account.session.close()


def test_an_admin_may_impersonate(api: Api, nobody: Api) -> None:
    headers = {"Impersonate-User": "nobody"}
    assert api("GET", "/api/v1/pods", headers=headers).status_code == 403
    refused = nobody.refused(403, "GET", "/apis", headers={"Impersonate-User": "kubernetes-admin"})
    assert 'cannot impersonate resource "users"' in refused["message"]


def test_rules_review(nobody: Api) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status: Any = nobody.ok("POST", path, {"spec": {"namespace": "default"}})["status"]
    assert {
        "verbs": ["create"],
        "apiGroups": ["authentication.k8s.io"],
        "resources": ["selfsubjectreviews"],
    } in (status["resourceRules"])
