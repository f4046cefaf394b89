# SPDX-License-Identifier: Apache-2.0
"""Fault runs ahead of the tests that judge them: most of a run waits, and another may use the processor meanwhile.

Every run has a lab, a process and a directory of its own. The workers of one pytest-xdist run share the work: who
makes the directory of a run does the run, and leaves its result there for the worker whose test asks for it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 600.0
"""Seconds that a test waits for the result of a run that another one does."""


class Ahead:
    """Runs jobs by name, each once; one thread works ahead while the test that asks works itself."""

    def __init__(
        self, shared: Path, names: Sequence[str], job: Callable[[str, Path], dict[str, Any]]
    ) -> None:
        self._shared = shared
        self._names = list(names)
        self._job = job
        self._stop = threading.Event()
        self._next = 0
        self._thread = threading.Thread(target=self._work_ahead, name="fault runs", daemon=True)

    def result(self, name: str) -> dict[str, Any]:
        """Return what the job gave for a name; do it now unless somebody is at it."""
        self._next = max(self._next, self._names.index(name) + 1)
        if self._thread.ident is None:
            self._thread.start()
        self._do(name)
        done = self._shared / name / "result.json"
        for _ in range(int(PATIENCE / 0.1)):
            if done.exists():
                found: dict[str, Any] = json.loads(done.read_text("utf-8"))
                return found
            self._stop.wait(0.1)
        raise TimeoutError(f"no result of {name} after {PATIENCE:.0f} s")

    def close(self) -> None:
        """Begin no further run, and wait for the one that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work_ahead(self) -> None:
        while not self._stop.is_set() and self._next < len(self._names):
            name = self._names[self._next]
            self._next += 1
            self._do(name)

    def _do(self, name: str) -> None:
        directory = self._shared / name
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            return
        try:
            found = self._job(name, directory)
        except Exception as error:  # the test that asks for it says so
            found = {"error": f"{type(error).__name__}: {error}"}
        partial = directory / "result.part"
        partial.write_text(json.dumps(found), "utf-8")
        partial.rename(directory / "result.json")
