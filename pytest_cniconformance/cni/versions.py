# SPDX-License-Identifier: Apache-2.0
"""Comparing CNI versions: enough for ``>=1.16,<1.21``, tolerant of ``v`` prefixes and suffixes."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from itertools import zip_longest

_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_TERM = re.compile(r"\s*(>=|<=|==|>|<)\s*v?(\d+(?:\.\d+)*)\s*")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")


def terms(specifier: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the comparisons of a specifier; the empty one has none.

    Raises:
        ValueError: it is malformed.
    """
    found = []
    for text in filter(None, specifier.split(",")):
        term = _TERM.fullmatch(text)
        if term is None:
            raise ValueError(f"{text.strip()!r} is no version comparison like >=1.16")
        found.append((term[1], _numbers(term[2])))
    return tuple(found)


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version meets all comparisons; one that cannot be read meets them."""
    found = _VERSION.match(version)
    if found is None:
        return True
    have = _numbers(found[1])
    return all(_OPERATORS[symbol](_compare(have, wanted), 0) for symbol, wanted in terms(specifier))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _compare(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Return -1, 0 or 1; missing places are zero."""
    for a, b in zip_longest(left, right, fillvalue=0):
        if a != b:
            return 1 if a > b else -1
    return 0
