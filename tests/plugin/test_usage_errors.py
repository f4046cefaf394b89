# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one clear message and exit code 4, never a traceback."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cni="], "*--cni= names no CNI*"),
        (["--cni=callico"], "*callico*calico*"),
        (["--cni=calico"], "*--cni-cluster=*lab*"),
        (["--cni=calico", "--cni-require=l8"], "*--cni-require=l8*known capabilities*"),
        (["--cni=calico", "--cni-timeout-scale=fast"], "*--cni-timeout-scale=fast: not a number*"),
        (["--cni=calico", "--cni-timeout-scale=inf"], "*--cni-timeout-scale=inf: not a finite number*"),
        (["--cni=calico", "--cni-timeout-scale=0"], "*--cni-timeout-scale=0: must be at least 0.1*"),
        (["--cni=calico", "--cni-lab-nodes=2.5"], "*--cni-lab-nodes=2.5: not a whole number*"),
        (["--cni=calico", "--cni-lab-fault=x"], "*--cni-lab-fault needs --cni-cluster=lab*"),
        (["--cni=calico", "--cni-kubeconfig=/nowhere/config"], "*/nowhere/config: no such file*"),
        (
            ["--cni=calico", "--cni-cluster=lab", "--cni-context=x"],
            "*--cni-context chooses a cluster*drop either*",
        ),
        (["--cni=calico", "--cni-external=moon"], "*--cni-external=moon: use auto, runner, node:NAME or*"),
        (
            ["--cni=calico", "--cni-cluster=lab", "--cni-slo=mlops"],
            "*unknown SLO profile 'mlops'*mlops-seed*",
        ),
        (
            ["--cni=calico", "--cni-cluster=lab", "--cni-slo=slo.toml"],
            "*cannot read the SLO profile slo.toml*",
        ),
        (
            ["--cni=calico", "--cni-cluster=lab", "--cni-report=file"],
            "*cannot write file/*choose another --cni-report=DIR*",
        ),
        (["--cni=antrea", "--cni-cluster=lab"], "*antrea*flannel*calico*cilium*"),
        (["--cni=auto", "--cni-cluster=lab"], "*--cni=auto*"),
    ],
)
def test_bad_input_is_one_message(pytester: pytest.Pytester, arguments: list[str], message: str) -> None:
    (pytester.path / "file").touch()
    result = pytester.runpytest_subprocess(*arguments, timeout=60)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_environment_and_ini_choose_too(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\ncni_require = l8\n")
    monkeypatch.setenv("CNI_NAME", "calico")
    result = pytester.runpytest_subprocess("--co", timeout=60)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--cni-require=l8*"])


def test_collecting_needs_no_cluster(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--cni=calico", "--collect-only", "-q", timeout=60)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_netpol_isolation.py::test_policies_add_up"])
