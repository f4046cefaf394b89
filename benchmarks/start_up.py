# SPDX-License-Identifier: Apache-2.0
"""Collect-only time, and what the plugin costs a run without ``--cni``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _timing import measure, show

BARE = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def run(*arguments: str, cwd: str) -> None:
    """Run pytest once; its own plugins stay, so that the difference is ours."""
    # Container images switch byte code off, and then every start compiles everything anew: that is not ours to time.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("CNI_") and key != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run([*BARE, *arguments], cwd=cwd, env=environment, check=True, capture_output=True)


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_one.py").write_text("def test_one(): pass\n", "utf-8")
        run("--co", cwd=directory)
        with_plugin: list[float] = []
        without: list[float] = []
        for _ in range(15):  # alternating, so that drift of the machine hits both
            with_plugin += measure(lambda: run("--co", cwd=directory), repeat=1)
            without += measure(lambda: run("--co", "-p", "no:cniconformance", cwd=directory), repeat=1)
        cost = statistics.median(a - b for a, b in zip(with_plugin, without, strict=True))
        show("plugin without --cni, added to a run", [max(cost, 0.0)], 0.010)
        show(
            "pytest --cni=calico --collect-only",
            measure(lambda: run("--cni=calico", "--collect-only", cwd=directory), repeat=5),
            1.0,
        )


if __name__ == "__main__":
    main()
