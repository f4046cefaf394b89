# SPDX-License-Identifier: Apache-2.0
"""The README shows what the command prints."""

from __future__ import annotations

from pathlib import Path

from pytest_cniconformance.policy.builders import Obj, network_policy, peer, port, rule
from tests.cli.conftest import Evaluate, pod

README = Path(__file__).resolve().parents[2] / "README.md"


def workload(kind: str, name: str, number: int) -> Obj:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": number}]}]},
    }
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"template": template}}


SHOP = [
    workload("Deployment", "web", 8080),
    workload("StatefulSet", "db", 5432),
    pod("batch/job", ports=[]),
    network_policy(
        "db-from-web", "shop", {"app": "db"}, ingress=[rule([peer({"app": "web"})], [port(5432)])]
    ),
]


def test_the_example_is_real(evaluate: Evaluate) -> None:
    readme = README.read_text("utf-8")
    matrix = evaluate(SHOP).out.splitlines()[:5]
    assert "\n".join(matrix) in readme
    pair = evaluate(SHOP, "--from", "batch/job", "--to", "shop/db", "--port", "5432/TCP").out
    assert pair in readme
