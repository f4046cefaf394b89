# SPDX-License-Identifier: Apache-2.0
"""Runs the product on the lab, as a user would, and reads the report that it left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest_cniconformance

SUITES = Path(pytest_cniconformance.__file__).resolve().parents[1] / "suites"
CASES_SUITE = "test_netpol_cases.py"
WITHOUT_CASES = "-mnot generated"
"""For runs that are about something else than the generated cases."""


class Lab:
    """One pytest process per run, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = ""

    def run(
        self, cni: str, *arguments: str, faults: Sequence[str] = (), expect: int = 0, scale: str = "0.1"
    ) -> dict[str, Any]:
        """Run ``pytest --cni=CNI --cni-cluster=lab`` and return ``report.json``.

        ``arguments`` are node ids of bundled checks or options; deadlines are short, for what is broken on
        purpose would else be waited for.
        """
        words = [str(SUITES / word) if word.startswith("test_") else word for word in arguments]
        command = [
            # Hypothesis' plugin would cost each run a second.
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
            f"--cni={cni}", "--cni-cluster=lab",
            f"--cni-timeout-scale={scale}", "--cni-report=report", *words,
            *(f"--cni-lab-fault={name}" for name in faults),
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=900, check=False
        )
        self.output = done.stdout + done.stderr
        assert done.returncode == expect, self.output[-6000:]
        record: dict[str, Any] = json.loads((self.directory / "report" / "report.json").read_text("utf-8"))
        return record
