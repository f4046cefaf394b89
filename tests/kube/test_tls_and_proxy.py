# SPDX-License-Identifier: Apache-2.0
"""Certificates, proxies and servers below a path, for requests and for execs alike."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.timeouts import Timeouts

from .conftest import kubeconfig, refused_address
from .fakeapi import FakeApi

Write = Callable[..., str]
BRIEF = Timeouts(request=5, retry_for=1, exec_open=5)


@pytest.fixture
def secure(tmp_path: Path) -> Any:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    servers: list[FakeApi] = []

    def start(name: str = "127.0.0.1", *, mutual: bool = False) -> FakeApi:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        if mutual:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
            client = authority.issue_cert("tester@example.org")
            client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
            client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
        servers.append(FakeApi(tls=context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def both_ways(kube: KubeClient) -> None:
    """A request and an exec: TLS and proxies must do for either."""
    assert kube.list("v1", "Pod", "x") == []
    assert kube.exec("x", "a", ["cat"], stdin=b"through", timeout=10).stdout == b"through"


def test_embedded_and_relative_certificates_work(secure: Any, write_config: Write, tmp_path: Path) -> None:
    api = secure(mutual=True)
    document = kubeconfig(api.url, token=None, **{"certificate-authority": "ca.pem"})
    document["users"][0]["user"] = {"client-certificate": "client.pem", "client-key": "client.key"}
    with KubeClient.connect(write_config(document), timeouts=BRIEF) as kube:
        both_ways(kube)
    data = {
        name: base64.b64encode((tmp_path / name).read_bytes()).decode() for name in ("ca.pem", "client.pem")
    }
    data["client.key"] = base64.b64encode((tmp_path / "client.key").read_bytes()).decode()
    document = kubeconfig(api.url, token=None, **{"certificate-authority-data": data["ca.pem"]})
    document["users"][0]["user"] = {
        "client-certificate-data": data["client.pem"],
        "client-key-data": data["client.key"],
    }
    with KubeClient.connect(write_config(document), timeouts=BRIEF) as kube:
        both_ways(kube)


def test_an_untrusted_certificate_is_refused_at_once(secure: Any, write_config: Write) -> None:
    api = secure()
    with pytest.raises(UsageError, match=r"no trusted TLS connection to the API server https://127.0.0.1"):
        KubeClient.connect(write_config(kubeconfig(api.url)), timeouts=Timeouts())


def test_skipping_verification_works_and_warns_nobody(secure: Any, write_config: Write) -> None:
    api = secure("other.example")
    with KubeClient.connect(
        write_config(kubeconfig(api.url, **{"insecure-skip-tls-verify": True})), timeouts=BRIEF
    ) as kube:
        both_ways(kube)


def test_the_tls_server_name_replaces_the_host_in_the_check(secure: Any, write_config: Write) -> None:
    api = secure("api.example")
    cluster = {"certificate-authority": "ca.pem"}
    with pytest.raises(UsageError, match=r"TLS"):
        KubeClient.connect(write_config(kubeconfig(api.url, **cluster)), timeouts=BRIEF)
    config = write_config(kubeconfig(api.url, **cluster, **{"tls-server-name": "api.example"}))
    with KubeClient.connect(config, timeouts=BRIEF) as kube:
        both_ways(kube)


class ConnectProxy:
    """An HTTP proxy that knows CONNECT."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        self.open: list[socket.socket] = [self.sock]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.url = f"http://agent:s3cret@127.0.0.1:{self.sock.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1024)
        self.asked.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        upstream = socket.create_connection((host, int(port)))
        self.open += [client, upstream]
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self.copy, args=(client, upstream), daemon=True).start()
        self.copy(upstream, client)

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for sock in self.open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        self.thread.join(5)


@pytest.mark.parametrize("by", ["kubeconfig", "environment"])
def test_requests_and_execs_go_through_a_proxy(
    secure: Any, write_config: Write, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    api = secure("api.example")
    proxy = ConnectProxy()
    # A host that is not loopback by name: the environment's proxy is not for loopback addresses.
    monkeypatch.setattr("pytest_cniconformance.kube.connection.bypass_proxy", lambda host, no_proxy: False)
    cluster = {"certificate-authority": "ca.pem", "tls-server-name": "api.example"}
    if by == "kubeconfig":
        cluster["proxy-url"] = proxy.url
    else:
        monkeypatch.setenv("https_proxy", proxy.url)
    try:
        with KubeClient.connect(write_config(kubeconfig(api.url, **cluster)), timeouts=BRIEF) as kube:
            both_ways(kube)
    finally:
        proxy.close()
    assert len(proxy.asked) >= 3
    login = base64.b64encode(b"agent:s3cret")
    assert all(b"roxy-" in head and login in head for head in proxy.asked)


def test_a_dead_proxy_is_blamed_without_its_password(write_config: Write) -> None:
    proxy = refused_address().replace("http://", "http://agent:s3cret@")
    with pytest.raises(UsageError, match=r"the proxy 127.0.0.1 before the API server") as caught:
        KubeClient.connect(
            write_config(kubeconfig("https://10.0.0.1:6443", **{"proxy-url": proxy})), timeouts=BRIEF
        )
    assert "s3cret" not in str(caught.value)


def test_a_server_below_a_path_is_served(api: FakeApi, write_config: Write) -> None:
    """Rancher and others put the API below a path."""
    seen: list[str] = []

    def strip(handler: Any, request: Any) -> None:
        seen.append(request.path)
        request.path = request.path.removeprefix("/k8s/c-1")
        api.answer(handler, request)

    api.on("GET", "/k8s/c-1/.*", strip, times=99)
    with KubeClient.connect(write_config(kubeconfig(f"{api.url}/k8s/c-1/")), timeouts=BRIEF) as kube:
        both_ways(kube)
    assert seen[0] == "/k8s/c-1/version"
    assert any(path.endswith("/exec") for path in seen)
