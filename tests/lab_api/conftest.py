# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.lab_api.fakes import ADMIN_TOKEN, FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


class Api:
    """Raw requests to the API server."""

    def __init__(self, cluster: FakeCluster, token: str | None = ADMIN_TOKEN) -> None:
        self.session = requests.Session()
        self.session.verify = str(cluster.ca)
        self.session.trust_env = False
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"
        self.url = cluster.url

    def __call__(self, method: str, path: str, body: Any = None, **kwargs: Any) -> requests.Response:
        return self.session.request(method, self.url + path, json=body, timeout=10, **kwargs)

    def ok(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        response = self(method, path, body, **kwargs)
        assert response.ok, response.text
        return response.json()

    def refused(self, code: int, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        response = self(method, path, body, **kwargs)
        assert response.status_code == code, response.text
        status = response.json()
        assert status["kind"] == "Status"
        assert status["code"] == code
        return status

    def patch(self, path: str, body: Any, kind: str, **kwargs: Any) -> requests.Response:
        return self("PATCH", path, body, headers={"Content-Type": f"application/{kind}"}, **kwargs)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path_factory.mktemp("lab-api")) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: FakeCluster) -> Iterator[Api]:
    api = Api(cluster)
    yield api
    api.session.close()


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    name = f"test-{next(_numbers)}"
    api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    api("DELETE", f"/api/v1/namespaces/{name}")
