# SPDX-License-Identifier: Apache-2.0
"""The server as the process that the pod runs: over TLS, light, and gone at SIGTERM."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from pytest_cniconformance.lab.dns.service import DnsService
from tests.lab_dns.conftest import Client, eventually
from tests.lab_dns.fake_api import FakeApi

MODULE = "pytest_cniconformance.lab.dns"


def test_the_process_serves_and_ends(api: FakeApi) -> None:
    command = [sys.executable, "-m", MODULE, "--api", api.url]
    command += ["--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--ready", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"serving on 127\.0\.0\.1:(\d+)", process.stderr.readline())
            assert found
            shown = DnsService(api=api.url)
            shown.listening = [("127.0.0.1", int(found[1]))]
            client = Client(shown, api)
            eventually(lambda: client.rcode("web.x.svc.cluster.local") == "NOERROR", "an answer")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_an_address_in_use_is_said_so(client: Client) -> None:
    host, port = client.server.listening[0]
    command = [sys.executable, "-m", MODULE, "--api", client.api.url, "--listen", f"{host}:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_it_imports_nothing_else_of_the_package() -> None:
    """The pod starts in a fraction of a second only as long as this holds."""
    code = f"import sys, {MODULE}.__main__; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("pytest_cniconformance")}
    allowed = {"pytest_cniconformance", "pytest_cniconformance.lab"}
    assert {name for name in ours if not name.startswith(MODULE)} == allowed
    assert not {"asyncio", "http.client", "email", "concurrent.futures"} & set(done.stdout.split())


def test_the_api_is_reached_over_tls() -> None:
    trustme = pytest.importorskip("trustme", reason="the lab's extras are not installed")
    import ssl
    import tempfile
    from pathlib import Path

    api = FakeApi()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    api._server.socket = context.wrap_socket(api._server.socket, server_side=True)
    with tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.crt"
        authority.cert_pem.write_to_path(str(ca))
        server = DnsService(api=api.url.replace("http:", "https:"), ca_file=str(ca))
        server.start(dns=[("127.0.0.1", 0)], health=None, ready=None)
        try:
            eventually(lambda: server.synced, "a synced server")
        finally:
            server.stop()
            api.close()
