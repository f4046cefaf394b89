# SPDX-License-Identifier: Apache-2.0
"""The lab for end-to-end tests; skipped with the reason where the machine cannot run it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.running import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    tools = [
        tool
        for tool in ("ip", "nft")
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if tools:
        pytest.skip(f"the lab needs {' and '.join(tools)}")
    return Lab(tmp_path)
