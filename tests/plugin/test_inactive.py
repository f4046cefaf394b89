# SPDX-License-Identifier: Apache-2.0
"""Without ``--cni`` the plugin changes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_plain_runs_are_not_hijacked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest().assert_outcomes(passed=1)


def test_checks_skip_with_the_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netpol
        def test_mine(cni_grid):
            raise AssertionError("must not run")
        """
    )
    result = pytester.runpytest("-rs", "--strict-markers")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs a cluster: run with --cni=NAME*"])


def test_the_plugin_module_imports_nothing_but_pytest() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_cniconformance.plugin; "
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('pytest_cniconformance')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
