# SPDX-License-Identifier: Apache-2.0
"""Waiting for what controllers do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(ask: Callable[[], T], good: Callable[[T], Any] = bool, *, seconds: float = 10) -> T:
    """Ask until the answer is good; the last answer is in the failure."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if good(answer):
            return answer
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.01)
