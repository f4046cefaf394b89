# SPDX-License-Identifier: Apache-2.0
"""``cniconformance list``: the catalogue of requirements, read from the decorators of the bundled checks."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, NamedTuple

from pytest_cniconformance.model.requirement import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from pytest import Mark


class Entry(NamedTuple):
    """One check of the catalogue."""

    suite: str
    requirement: Requirement
    nodeid: str


def entries() -> list[Entry]:
    """Return every bundled check, in the order of suites and definitions."""
    import pytest_cniconformance.suites as suites

    found = []
    for info in pkgutil.iter_modules(suites.__path__):
        if info.name.startswith("test_"):
            found += _of_module(importlib.import_module(f"{suites.__name__}.{info.name}"))
    return found


def _of_module(module: ModuleType) -> list[Entry]:
    suite = module.pytestmark.name
    file = f"{module.__name__.rpartition('.')[2]}.py"
    return [
        Entry(suite, requirement, f"{file}::{name}{suffix}")
        for name, value in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(value, "pytestmark", ())
        for requirement, suffix in _of_mark(mark)
    ]


def _of_mark(mark: Mark) -> Iterator[tuple[Requirement, str]]:
    """Yield the requirements of a mark, with what the node id of the test ends in: one per parameter, if any."""
    if mark.name == "requirement":
        yield mark.args[0], ""
    elif mark.name == "parametrize":
        for parameters in mark.args[1]:
            for inner in getattr(parameters, "marks", ()):
                for requirement, _ in _of_mark(inner):
                    yield requirement, f"[{parameters.id}]"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("list", help="list the bundled checks and the requirements that they prove")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the catalogue."""
    found = entries()
    if arguments.json:
        fields = ("id", "level", "feature", "source", "title")
        rows = [
            {"suite": e.suite, "check": e.nodeid} | {f: str(getattr(e.requirement, f)) for f in fields}
            for e in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(entry.requirement.id) for entry in found)
    suite = ""
    for entry in found:
        if entry.suite != suite:
            suite = entry.suite
            print(f"\n{suite}")
        requirement = entry.requirement
        print(f"  {requirement.id:<{width}}  {requirement.level:<6}  {requirement.title}")
    print(f"\n{len(found)} checks")
    return 0
