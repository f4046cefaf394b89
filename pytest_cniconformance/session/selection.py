# SPDX-License-Identifier: Apache-2.0
"""What the user left out of the bundled checks: by paths, by ``-k``, ``-m``, ``--deselect``, ``--lf`` and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

_KEY = "cniconformance-deselected"


class Selection:
    """Counts in every process that collects; xdist workers, which all collect the same, tell the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self._paths = config.args_source is pytest.Config.ArgsSource.ARGS
        self._deselected = 0
        self.selected = 0
        """How many tests will run."""

    def left_out(self, items: Sequence[pytest.Item]) -> None:
        """Take note of tests that were collected and will not run; random policies are for those who ask."""
        self._deselected += sum("cni_random" not in getattr(item, "fixturenames", ()) for item in items)

    def tell(self, output: dict[str, Any]) -> None:
        """Put the count into what a worker gives its controller."""
        output[_KEY] = self._deselected

    def take(self, output: Mapping[str, Any]) -> None:
        """Take the count from what a worker gave."""
        self._deselected = max(self._deselected, int(output.get(_KEY, 0)))

    def text(self) -> str:
        """Return what was left out in the words of the report, empty if nothing."""
        if self._deselected:
            return f"{self._deselected} of {self._deselected + self.selected} checks were not selected"
        return "only the paths that were given" if self._paths else ""
