# SPDX-License-Identifier: Apache-2.0
"""Which cluster is meant, whether it can be reached, and that no credential ever shows."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.kube import kubeconfig as files
from pytest_cniconformance.kube.connection import Server, bypass_proxy
from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.timeouts import Timeouts

from .conftest import TOKEN, kubeconfig, refused_address
from .fakeapi import FakeApi

Write = Callable[..., str]
BRIEF = Timeouts(request=5, retry_for=1, exec_open=5)


def test_importing_the_layer_is_cheap() -> None:
    heavy = "kubernetes", "urllib3", "websocket", "yaml", "requests", "pykube", "pytest"
    code = (
        "import sys, pytest_cniconformance.kube; "
        f"print(sorted(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_connecting_loads_no_api_classes_or_models(api: FakeApi, write_config: Write) -> None:
    """Touching ``kubernetes.client.CoreV1Api`` costs a second with releases from 37 on."""
    pytest.importorskip("kubernetes.informer", reason="before 37 the package imports all of it by itself")
    code = (
        "import sys\nfrom pytest_cniconformance.kube import KubeClient\n"
        f"with KubeClient.connect({write_config(kubeconfig(api.url))!r}) as kube: kube.list('v1', 'Pod')\n"
        "print(sorted(name for name in sys.modules if 'core_v1_api' in name or 'kubernetes.client.models.' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_says_where_it_is_connected(api: FakeApi, write_config: Write) -> None:
    with KubeClient.connect(write_config(kubeconfig(api.url))) as kube:
        assert (kube.server, kube.context) == (api.url, "fake-context")
        assert kube.version()["gitVersion"] == "v1.33.1"
        assert len(api.sent("GET", "/version")) == 1


def test_no_kubeconfig_is_a_usage_error_that_names_the_other_providers() -> None:
    with pytest.raises(UsageError, match=r"no kubeconfig: .*the default location.*--cni-cluster=kind\|lab"):
        KubeClient.connect()
    with pytest.raises(UsageError, match=r"/nowhere/config \(from --cni-kubeconfig\) does not exist"):
        KubeClient.connect("/nowhere/config")


def test_the_kubeconfig_of_the_environment_is_read_when_connecting(
    api: FakeApi, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", write_config(kubeconfig(api.url)))
    with KubeClient.connect() as kube:
        assert kube.server == api.url


def test_merged_files_follow_kubectl(api: FakeApi, write_config: Write) -> None:
    """The first file that names an entry or the current context wins."""
    other = kubeconfig(refused_address())
    other["contexts"].append({"name": "second", "context": {"cluster": "elsewhere", "user": "tester"}})
    other["clusters"].append({"name": "elsewhere", "cluster": {"server": api.url}})
    other["current-context"] = "second"
    paths = os.pathsep.join(
        [write_config(kubeconfig(api.url), "one"), write_config(other, "two"), "/no/such/file"]
    )
    with KubeClient.connect(paths) as kube:
        assert (kube.server, kube.context) == (api.url, "fake-context")
    with KubeClient.connect(paths, "second") as kube:
        assert (kube.server, kube.context) == (api.url, "second")


def test_an_unknown_context_lists_the_known_ones(write_config: Write) -> None:
    config = write_config(kubeconfig("http://127.0.0.1:1"))
    with pytest.raises(UsageError, match=r'no context "prod".*contexts there: fake-context.*--cni-context'):
        KubeClient.connect(config, "prod")
    document = kubeconfig("http://127.0.0.1:1")
    document["current-context"] = ""
    with pytest.raises(UsageError, match=r"has no current-context"):
        KubeClient.connect(write_config(document))


def test_an_unreachable_server_is_a_usage_error_with_its_address(write_config: Write) -> None:
    server = refused_address()
    with pytest.raises(UsageError) as caught:
        KubeClient.connect(write_config(kubeconfig(server)), timeouts=BRIEF)
    text = str(caught.value)
    assert (
        f'connect to the cluster of context "fake-context": cannot connect to the API server {server}' in text
    )
    assert "--cni-kubeconfig=PATH, --cni-context=NAME or --cni-cluster=kind|lab" in text


def test_an_unknown_host_name_is_said_to_be_one(write_config: Write) -> None:
    with pytest.raises(UsageError, match=r'the name "no-such-host.invalid" of the API server'):
        KubeClient.connect(write_config(kubeconfig("http://no-such-host.invalid:6443")), timeouts=BRIEF)


def test_refused_credentials_are_a_usage_error(api: FakeApi, write_config: Write) -> None:
    api.on("GET", "/version", lambda h, r: h.fail(401, "Unauthorized", "Unauthorized"), times=9)
    with pytest.raises(
        UsageError, match=r"does not accept the credentials.*log in again.*--cni-context"
    ) as caught:
        KubeClient.connect(write_config(kubeconfig(api.url)), timeouts=BRIEF)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "key"),
    [("clusters", "certificate-authority"), ("users", "client-certificate"), ("users", "client-key")],
)
def test_a_file_that_is_missing_is_named_by_its_key(write_config: Write, where: str, key: str) -> None:
    document = kubeconfig("https://127.0.0.1:1")
    document[where][0][where.removesuffix("s")] |= {key: "/nowhere/file"}
    with pytest.raises(UsageError, match=f"{key} in its kubeconfig names a file that does not exist"):
        KubeClient.connect(write_config(document))


def test_a_rotated_token_is_read_again(api: FakeApi, write_config: Write, tmp_path: Path) -> None:
    document = kubeconfig(api.url)
    (tmp_path / "token").write_text("old\n")
    document["users"][0]["user"] = {"tokenFile": "token"}
    api.put("/api/v1/namespaces/x/pods/a", {})
    with KubeClient.connect(write_config(document), timeouts=BRIEF) as kube:
        (tmp_path / "token").write_text("new\n")
        api.on("GET", ".*/pods/a", lambda h, r: h.fail(401, "Unauthorized", "expired"))
        assert kube.get("v1", "Pod", "a", "x")
        api.on("GET", ".*/exec", lambda h, r: h.fail(401, "Unauthorized", "expired"))
        assert kube.exec("x", "a", ["true"], timeout=5).ok
    used = [request.headers["authorization"] for request in api.sent("GET", ".*/pods/a")]
    assert used == ["Bearer old", "Bearer new"]


def test_a_version_that_is_forbidden_still_connects(api: FakeApi, write_config: Write) -> None:
    api.on("GET", "/version", lambda h, r: h.fail(403, "Forbidden", "no"))
    KubeClient.connect(write_config(kubeconfig(api.url))).close()


# -- credentials --------------------------------------------------------------------------------------------------


def broken_yaml(path: Path) -> None:
    path.write_text(f"users:\n- name: u\n  user: {{token: {TOKEN}\n contexts: [[[\n")


def not_a_mapping(path: Path) -> None:
    path.write_text(f"- token: {TOKEN}\n")


def user_without_name(path: Path) -> None:
    """The ``kubernetes`` loader quotes the whole entry when it stumbles."""
    document = kubeconfig("https://127.0.0.1:1")
    document["users"][0]["user"]["client-certificate-data"] = f"!{TOKEN}!"
    import yaml

    path.write_text(yaml.safe_dump(document))


def odd_auth_provider(path: Path) -> None:
    document = kubeconfig("https://127.0.0.1:1", token=None)
    document["users"][0]["user"] = {"auth-provider": {"name": "oidc", "config": {"client-secret": TOKEN}}}
    import yaml

    path.write_text(yaml.safe_dump(document))


def server_with_password(path: Path) -> None:
    import yaml

    path.write_text(yaml.safe_dump(kubeconfig(f"http://user:{TOKEN}@127.0.0.1:1")))


@pytest.mark.parametrize(
    "spoil", [broken_yaml, not_a_mapping, user_without_name, odd_auth_provider, server_with_password]
)
def test_no_credential_shows_when_a_kubeconfig_is_broken(
    spoil: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spoil(tmp_path / "config")
    with pytest.raises(UsageError) as caught:
        KubeClient.connect(str(tmp_path / "config"), timeouts=BRIEF)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert TOKEN not in shown
    assert base64.b64encode(TOKEN.encode()).decode() not in shown


def test_no_credential_shows_when_requests_fail(
    api: FakeApi, kube: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = ""
    for act in (lambda h, r: h.fail(500, "", "no"), lambda h, r: h.cut(), lambda h, r: h.raw(101, b"")):
        kube._transport.timeouts = kube.timeouts.scaled(0.02)
        api.on("GET", ".*", act, times=50)
        for request in (lambda: kube.get("v1", "Pod", "a", "x"), lambda: kube.open_exec("x", "a", ["true"])):
            with pytest.raises(Exception) as caught:
                request()
            shown += "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        api.rules.clear()
    assert TOKEN not in shown + caplog.text


def test_a_failing_credential_plugin_is_named(write_config: Write, caplog: pytest.LogCaptureFixture) -> None:
    document = kubeconfig("http://127.0.0.1:1", token=None)
    document["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "/nowhere/cloud-login",
            "args": ["x"],
        }
    }
    with pytest.raises(
        UsageError, match=r'plugin "cloud-login" of context "fake-context" gave no credentials'
    ):
        KubeClient.connect(write_config(document))


# -- TLS and proxies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("api.example.org", ".example.org", True),
        ("api.example.org", "example.org", True),
        ("api.example.org", "*.example.org", True),
        ("notexample.org", "example.org", False),
        ("api.example.org", "*", True),
        ("api.example.org", "", False),
    ],
)
def test_no_proxy_follows_kubectl(host: str, no_proxy: str, direct: bool) -> None:
    assert bypass_proxy(host, no_proxy) is direct


def test_server_addresses_are_taken_apart() -> None:
    assert (
        str(Server.parse("https://user:pw@[fd00::1]:6443/k8s/clusters/c-1/"))
        == "https://[fd00::1]:6443/k8s/clusters/c-1"
    )
    assert str(Server.parse("https://api.example")) == "https://api.example:443"
    for wrong in ("api.example:6443", "ftp://x", "https://", "https://x:abc"):
        with pytest.raises(UsageError):
            Server.parse(wrong)


def test_a_pod_uses_its_service_account(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setattr(files, "SERVICE_ACCOUNT", tmp_path)
    with pytest.raises(UsageError, match=r"no kubeconfig"):
        files.select()
    (tmp_path / "token").write_text("t")
    assert files.select().context == "in-cluster"
    with pytest.raises(UsageError, match=r"no kubeconfig"):
        files.select(context="prod")
