# SPDX-License-Identifier: Apache-2.0
"""A record in which every string that a cluster or a user controls is hostile."""

from __future__ import annotations

from typing import Any

from pytest_cniconformance.report.record import RunRecord

import sample  # isort: skip

STRINGS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><img src=x onerror=alert(3)>",
    '" onmouseover="alert(4)" x=\'',
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(5)",
    "a\nb\r\nc\td",
    "\x1b]0;title\x07\x1b[31mred\x1b[2J\x9b",
    "\u202egnp.exe\u2066",
    "\ud800\udfff lone",
    "| `code` | **bold** [link](javascript:1) ![x](y) # <!-- -->",
    "\x00\x08\x7f",
)
_KEPT_KEYS = {
    "verdict",
    "status",
    "outcome",
    "level",
    "expected",
    "claim",
    "protocol",
    "family",
    "change",
    "schema",
    "unit",
}


def record(text: str) -> RunRecord:
    """The troubled run with ``text`` in front of every free string."""
    return RunRecord.from_json(_poison(sample.troubled_run().to_json(), text, ""))


def _poison(value: Any, text: str, key: str) -> Any:
    if isinstance(value, dict):
        # Keys of maps (claims, plugins) are free as well; keys of objects are the schema's.
        free = key in ("plugins", "claims")
        return {(text + name if free else name): _poison(item, text, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_poison(item, text, key) for item in value]
    if not isinstance(value, str) or key in _KEPT_KEYS or key == "observed":
        return value
    return value if _claim(value) else text + value


def _claim(value: str) -> bool:
    return value in ("claimed", "not-claimed", "not-enforced")
