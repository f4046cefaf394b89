# SPDX-License-Identifier: Apache-2.0
"""Starts the small programs that do what ``ip`` and ``nft`` cannot: raw ARP, conntrack deletion, a delay line.

Each is one file of the standard library, run by this interpreter without site packages.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.seams import DataplaneError

if TYPE_CHECKING:
    from pytest_cniconformance.lab.dataplane.seams import Zygote

_HERE = Path(__file__).parent


async def run_helper(zygote: Zygote, netns: str, name: str, arguments: Any) -> None:
    """Run ``programs/<name>.py`` in a namespace with JSON ``arguments`` on stdin, until it exits."""
    program = _HERE / "programs" / f"{name}.py"
    argv = [sys.executable, "-I", "-S", str(program)]
    code, _, err = await zygote.run(argv, json.dumps(arguments).encode(), netns=netns)
    if code:
        raise DataplaneError(f"{name} in {netns}: {err.decode(errors='replace').strip()}")
