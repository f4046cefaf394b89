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
    from types import ModuleType


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
    return [
        Entry(suite, mark.args[0], f"{module.__name__.rpartition('.')[2]}.py::{name}")
        for name, value in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(value, "pytestmark", ())
        if mark.name == "requirement"
    ]


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
