# SPDX-License-Identifier: Apache-2.0
"""Label selectors: one object at a time, or all objects of an index at once as a bit mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from pytest_cniconformance.model.failure import UsageError

Labels = Mapping[str, str]


class Expression(TypedDict, total=False):
    """One entry of ``matchExpressions``."""

    key: str
    operator: str
    values: list[str] | None


class LabelSelector(TypedDict, total=False):
    """``meta/v1.LabelSelector``: all its requirements must hold; the empty selector matches everything."""

    matchLabels: dict[str, str] | None
    matchExpressions: list[Expression] | None


def requirements(selector: LabelSelector) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Yield (key, operator, values); a ``matchLabels`` entry is ``In`` with one value, as in apimachinery."""
    for key, value in (selector.get("matchLabels") or {}).items():
        yield key, "In", (value or "",)
    for expression in selector.get("matchExpressions") or ():
        yield (
            expression["key"],
            expression["operator"],
            tuple(value or "" for value in expression.get("values") or ()),
        )


def matches(selector: LabelSelector, labels: Labels) -> bool:
    """Whether an object with these labels is selected.

    ``NotIn`` and ``DoesNotExist`` also match objects without the key (``labels.Requirement.Matches``).

    Raises:
        UsageError: an operator that the API does not know.
    """
    return all(_holds(key, operator, values, labels) for key, operator, values in requirements(selector))


def unmet(selector: LabelSelector, labels: Labels) -> str:
    """Return the first requirement that an object with these labels fails, said of it; empty if none."""
    for key, operator, values in requirements(selector):
        if not _holds(key, operator, values, labels):
            return f"has {key}={labels[key]}" if key in labels else f"has no label {key}"
    return ""


def _holds(key: str, operator: str, values: tuple[str, ...], labels: Labels) -> bool:
    present = key in labels
    if operator == "In":
        return present and labels[key] in values
    if operator == "NotIn":
        return not present or labels[key] not in values
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return not present
    raise _unknown(key, operator)


def _unknown(key: str, operator: str) -> UsageError:
    return UsageError(
        f"label selector on {key!r} has the operator {operator!r}; the API knows In, NotIn, Exists, DoesNotExist"
    )


class LabelIndex:
    """The labels of numbered objects, answering a selector with the mask of the objects that it selects.

    Bit ``i`` of a mask stands for object ``i``. One selector costs a few operations on integers whatever
    the number of objects, which keeps thousands of policies over thousands of pods cheap.
    """

    def __init__(self, objects: Iterable[Labels]) -> None:
        self.everything = 0
        self._having: dict[str, int] = {}
        self._equal: dict[tuple[str, str], int] = {}
        for number, labels in enumerate(objects):
            bit = 1 << number
            self.everything |= bit
            for key, value in labels.items():
                self._having[key] = self._having.get(key, 0) | bit
                self._equal[key, value] = self._equal.get((key, value), 0) | bit

    def select(self, selector: LabelSelector) -> int:
        """Return the mask of the selected objects.

        Raises:
            UsageError: an operator that the API does not know.
        """
        mask = self.everything
        for key, operator, values in requirements(selector):
            if operator in ("In", "NotIn"):
                found = 0
                for value in values:
                    found |= self._equal.get((key, value), 0)
            elif operator in ("Exists", "DoesNotExist"):
                found = self._having.get(key, 0)
            else:
                raise _unknown(key, operator)
            mask &= found if operator in ("In", "Exists") else ~found
        return mask


def bits(mask: int) -> Iterable[int]:
    """Yield the numbers of the bits set, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
