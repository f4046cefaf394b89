# SPDX-License-Identifier: Apache-2.0
"""Label selectors, as apimachinery defines them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Selector = dict[str, Any]


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector; the empty selector is satisfied by all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values = expression.get("values") or []
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        # Objects without the key are matched, too.
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    return False


def canonical(selector: Selector | None) -> str:
    """Write a selector so that equal ones are equal texts."""
    return json.dumps(selector, sort_keys=True, separators=(",", ":"))
