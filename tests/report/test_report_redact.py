# SPDX-License-Identifier: Apache-2.0
"""Planted secrets: none of them reaches any report, and ordinary text stays as it is."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import pytest
import sample
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.report import allure, junit, terminal
from pytest_cniconformance.report.check import Trait
from pytest_cniconformance.report.evidence import check_record
from pytest_cniconformance.report.files import write_reports
from pytest_cniconformance.report.record import RunRecord
from pytest_cniconformance.report.redact import MASK, PATTERNS_ONLY, Redactor

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "c4n4rySECRETvalue"
JWT = f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIi{CANARY}.c2ln{CANARY}"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{CANARY}\n{CANARY}==\n-----END RSA PRIVATE KEY-----"
KUBECONFIG = f"""\
apiVersion: v1
kind: Config
current-context: prod
clusters: [{{name: prod, cluster: {{server: "https://{CANARY}.example.org:6443"}}}}]
users:
- name: admin
  user: {{token: {CANARY}}}
"""
POD = f"""\
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    env:
    - name: MODE
      value: {CANARY}
    - name: OTHER
      value: "{CANARY}"
"""
SECRET = f"apiVersion: v1\nkind: Secret\ndata:\n  any: {CANARY}\nstringData: {{other: {CANARY}}}\n"

LEAKS = {
    "bearer header": f"Authorization: Bearer {CANARY}",
    "basic header": f"curl -H 'Authorization: Basic {CANARY}' https://api/",
    "header in a dict": f"{{'authorization': 'Bearer {CANARY}', 'accept': '*/*'}}",
    "header in a log": f"send: b'GET / HTTP/1.1\\r\\nAuthorization: Bearer {CANARY}\\r\\n'",
    "bare bearer": f"the token was bearer {CANARY}",
    "cookie": f"Set-Cookie: session={CANARY}; Path=/",
    "service account token": f"mounted {JWT} into the pod",
    "private key": PEM,
    "cut private key": PEM[:60],
    "private key in JSON": yaml.safe_dump({"key": PEM}),
    "client key data": f"client-key-data: LS0tLS1CRUdJTi{CANARY}",
    "base64 pem alone": f"read LS0tLS1CRUdJTiBSU0E{CANARY}== from disk",
    "client key in JSON": f'{{"client-key-data": "{CANARY}", "x": 1}}',
    "URL with credentials": f"GET https://admin:{CANARY}@registry.example.org/v2/",
    "URL with a token only": f"https://{CANARY}@example.org/x",
    "query token": f"https://api/exec?access_token={CANARY}&stdin=true",
    "token option": f"pytest --cni=calico --cni-token {CANARY} -n 4",
    "quoted password option": f"run --password='{CANARY} {CANARY}'",
    "inline kubeconfig": f"pytest --cni-kubeconfig={{users: [{CANARY}]}}",
    "kubeconfig": KUBECONFIG,
    "kubeconfig as JSON": f'{{"kind": "Config", "users": [{{"name": "{CANARY}"}}]}}',
    "environment": f"env: REGISTRY_PASSWORD={CANARY} AWS_SECRET_ACCESS_KEY={CANARY}",
    "yaml password": f"password: {CANARY}",
    "json token": f'{{"refreshToken": "{CANARY}\\"{CANARY}"}}',
    "list of tokens": f"tokens:\n  token: [{CANARY}, {CANARY}]",
    "curl user": f"curl -u admin:{CANARY} https://x/",
    "github token": f"ghp_{'a' * 20}{CANARY}",
    "env block of a manifest": POD,
    "Secret": SECRET,
    "Secret as JSON": f'{{"kind": "Secret", "data": {{"any": "{CANARY}"}}}}',
    "Secret in a log": f"applied:\n  kind: Secret\n  data:\n    a: {CANARY}\n    b: {CANARY}",
}
KEPT = (
    "KUBECONFIG and --cni-kubeconfig=/etc/a:/etc/b -n 4",
    "pytest --cni=calico --cni-kubeconfig=/home/me/.kube/config --cni-context staging -n 4",
    "x/a → y/b:80/TCP expected denied (isolated by y/deny-all, no rule matches), observed open",
    "kubectl -n y get secret my-secret -o name",
    "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
    "curl -s http://10.96.0.1:443/healthz",
    "pod token-reader could not be scheduled: 0/3 nodes available",
    "sha256:1d5c0f7b9cbd2ed92a7d8d5e3a0e3c5b",
)


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS.keys())
def test_no_planted_secret_survives(text: str) -> None:
    for clean in (PATTERNS_ONLY.text(text), PATTERNS_ONLY.manifest(text)):
        assert CANARY not in clean
        assert PATTERNS_ONLY.text(clean) == clean, "redacting twice must change nothing"


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_stays(text: str) -> None:
    assert PATTERNS_ONLY.text(text) == text


def test_manifests_keep_everything_but_the_values() -> None:
    clean = PATTERNS_ONLY.manifest(POD)
    assert CANARY not in clean
    assert yaml.safe_load(clean)["spec"]["containers"][0]["env"][0] == {"name": "MODE", "value": MASK}
    assert CANARY not in PATTERNS_ONLY.manifest(SECRET)
    assert PATTERNS_ONLY.manifest(sample.MANIFEST) == sample.MANIFEST


def test_values_under_secret_keys_go_whatever_they_are() -> None:
    tree = {
        "extra": {"token": CANARY, "clientKey": [CANARY], "X-Auth-Token": CANARY, "port": 80, "keys": "kept"}
    }
    assert PATTERNS_ONLY.tree(tree) == {
        "extra": {"token": MASK, "clientKey": [MASK], "X-Auth-Token": MASK, "port": 80, "keys": "kept"}
    }


def test_secrets_of_this_process_are_known_by_value(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    exec_plugin = {"exec": {"command": "aws", "env": [{"name": "K", "value": "env-value-1"}]}}
    users = [{"name": "a", "user": {"token": "opaque-token-1"}}, {"name": "b", "user": exec_plugin}]
    kubeconfig.write_text(yaml.safe_dump({"users": users}))
    redactor = Redactor.for_process(
        {"VAULT_TOKEN": "vault value/1", "HOME": "/home/someone"}, [kubeconfig, tmp_path / "absent"]
    )
    clean = redactor.text("opaque-token-1 env-value-1 vault value/1 vault%20value%2F1 /home/someone aws")
    assert clean == f"{MASK} {MASK} {MASK} {MASK} /home/someone aws"


def test_a_kubeconfig_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff")
    assert Redactor.for_process({}, [tmp_path / "bad"]).text("x") == "x"


def _planted() -> RunRecord:
    """A run in which every free text carries every secret."""
    base = sample.troubled_run()
    everything = "\n".join(
        text for name, text in LEAKS.items() if "kubeconfig" not in name and text not in (POD, SECRET)
    )
    check: dict[str, Any] = dict(  # noqa: C408 - reads like the call that it becomes
        nodeid=f"test_x.py::test[https://u:{CANARY}@h/]",
        suite="netpol",
        outcome=Outcome.FAILED,
        message=everything,
        details=KUBECONFIG,
        evidence={
            "mismatches": [
                {
                    "cell": ["x/a", f"https://u:{CANARY}@h/", 80],
                    "expected": "deny",
                    "because": [everything],
                    "observed": {"verdict": "open", "cause": everything, "extra": {"token": CANARY}},
                }
            ],
            "manifests": [POD, SECRET, KUBECONFIG],
            "reproduce": [
                f"curl -H 'Authorization: Bearer {CANARY}' http://x",
                f"TOKEN={CANARY} kubectl get ns",
            ],
            "traits": [Trait(name="t", value=f"token={CANARY}", note=f"Bearer {CANARY}")],
        },
    )
    return RunRecord.assemble(
        run=dataclasses.replace(base.run, command=f"pytest --cni=calico --token={CANARY}"),
        cni=dataclasses.replace(base.cni, notes=(f"password: {CANARY}",)),
        cluster=dataclasses.replace(base.cluster, notes=(everything,), context="opaque-planted"),
        environment=base.environment,
        checks=[check_record(sample.requirement("NP-AND-1"), **check)],
    )


def test_no_report_of_any_format_holds_a_secret(tmp_path: Path) -> None:
    record = _planted()
    paths = write_reports(record, tmp_path / "out", redactor=Redactor(["opaque-planted"]))
    allure.write_run_files(tmp_path / "allure", record, {"BUILD_URL": f"https://u:{CANARY}@ci/"})
    texts = {str(path): path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    assert len(texts) == len(paths) + 3
    texts["terminal"] = "\n".join(line.text for line in terminal.lines(record))
    texts["junit"] = repr(junit.facts(record.checks[0], "calico"))
    texts["allure"] = repr(allure.facts(record.checks[0], "calico"))
    for name, text in texts.items():
        assert CANARY not in text, name
        assert "BEGIN RSA" not in text, name
    assert "opaque-planted" not in texts[str(paths["json"])] + texts[str(paths["html"])]


@given(st.text(alphabet="abctokenBearerAuthorization: =-_'\"{}[]/@\n.", max_size=200))
def test_redaction_is_idempotent(text: str) -> None:
    once = PATTERNS_ONLY.text(text)
    assert PATTERNS_ONLY.text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a-" * 100_000,
        "token" * 40_000,
        "kind: Config " * 15_000,
        "://" * 60_000,
        "LS0t" * 50_000,
    ],
    ids=["word", "dashes", "tokens", "kinds", "schemes", "base64"],
)
def test_no_input_makes_it_slow(text: str) -> None:
    start = time.process_time()
    PATTERNS_ONLY.text(text)
    # Quadratic search would take minutes; this takes some 0.1 s.
    assert time.process_time() - start < 10
