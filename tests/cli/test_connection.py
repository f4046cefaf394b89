# SPDX-License-Identifier: Apache-2.0
"""Commands without a usable cluster: one message that names options which the command has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_cniconformance.cli import main

CONTEXTS = """
{clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: u, user: {}}],
 contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"""


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize("command", ["doctor", "cleanup"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no kubeconfig: "),
        (["--kubeconfig=/nowhere/config"], "/nowhere/config (from --kubeconfig) does not exist"),
        (["--kubeconfig=config"], "cannot connect to the API server http://127.0.0.1:1"),
        (["--kubeconfig=config", "--context=y"], 'no context "y"'),
    ],
)
def test_the_message_names_options_of_the_command(
    command: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").write_text(CONTEXTS)
    assert main([command, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"cniconformance {command}: ")
    assert message in err
    assert "--context=NAME" in err
    assert "--cni" not in err
