# SPDX-License-Identifier: Apache-2.0
"""Run the console script's ``main`` on manifests, and read what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_cniconformance.cli import main
from pytest_cniconformance.policy.builders import Obj, to_yaml


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        assert self.status == 0, self.err
        found: list[dict[str, Any]] = json.loads(self.out)["verdicts"]
        return found

    def verdict(self, source: str, destination: str, port: int = 80, protocol: str = "TCP") -> dict[str, Any]:
        asked = (source, destination, port, protocol)
        [one] = [v for v in self.verdicts if (v["from"], v["to"], v["port"], v["protocol"]) == asked]
        return one


Evaluate = Callable[..., Ran]


@pytest.fixture
def evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Evaluate objects, or the text of one file, with options."""

    def run(given: list[Obj] | str | bytes, *options: str, name: str = "objects.yaml") -> Ran:
        text = to_yaml(*given) if isinstance(given, list) else given
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return command(str(path), *options)

    def command(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            status = main(["evaluate", *arguments])
        except SystemExit as exit:
            status = int(exit.code or 0)
        return Ran(status, *capsys.readouterr())

    run.command = command  # type: ignore[attr-defined]
    return run


def pod(key: str, *ips: str, ports: list[int | str] | None = None, host: bool = False, **labels: str) -> Obj:
    """Return a pod; ports are written ``80`` or ``53/UDP``."""
    where, name = key.split("/")
    declared = []
    for text in [80] if ports is None else ports:
        number, _, protocol = str(text).partition("/")
        declared.append({"containerPort": int(number), **({"protocol": protocol} if protocol else {})})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": where, "labels": labels or {"pod": name}},
        "spec": {"containers": [{"name": "c", "ports": declared}], **({"hostNetwork": True} if host else {})},
        "status": {"podIPs": [{"ip": ip} for ip in ips]},
    }
