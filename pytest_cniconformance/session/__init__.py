# SPDX-License-Identifier: Apache-2.0
"""One active run under pytest: settings, cluster life cycle, outcomes, progress and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def activate(config: pytest.Config) -> None:
    """Switch the plugin on for this pytest run (controller or xdist worker)."""
    from pytest_cniconformance.session.activation import activate as switch_on

    switch_on(config)
