# SPDX-License-Identifier: Apache-2.0
"""A misbehaving API server and clients for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.timeouts import Timeouts

from .fakeapi import FakeApi

TOKEN = "not-a-real-token-but-must-never-show"


def refused_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own clusters and proxies out."""
    for name in (
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.close()


def kubeconfig(server: str, *, token: str | None = TOKEN, **cluster: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "tester", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "fake-context", "context": {"cluster": "fake", "user": "tester"}}],
        "current-context": "fake-context",
    }


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., str]:
    def write(document: dict[str, Any], name: str = "config") -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


@pytest.fixture
def kube(api: FakeApi, write_config: Callable[..., str]) -> Iterator[KubeClient]:
    with KubeClient.connect(
        write_config(kubeconfig(api.url)), timeouts=Timeouts(request=5, retry_for=5, exec_open=5)
    ) as client:
        api.requests.clear()
        yield client
