# SPDX-License-Identifier: Apache-2.0
"""``cniconformance lab``: run the embedded cluster by itself, or list the faults that it can inject."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.cluster import LabCluster
    from pytest_cniconformance.lab.faults import Fault

_LOOK = 0.5
"""Seconds between two looks at whether the lab still lives; the end itself is waited for, not polled."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its own two."""
    parser = commands.add_parser("lab", help="the embedded lab cluster: up, faults")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    faults = actions.add_parser("faults", help="list the faults and the checks that must catch them")
    faults.add_argument(
        "--checks", action="store_true", help="the reverse: each check and the faults that it catches"
    )
    faults.add_argument("--area", metavar="AREA", help="only the faults of one area, such as policy or dns")
    faults.add_argument("--json", action="store_true", help="print JSON")
    faults.set_defaults(run=list_faults)
    up = actions.add_parser("up", help="start a lab, print its kubeconfig, stop it on Ctrl-C")
    up.add_argument("--profile", default="calico", help="flannel, calico or cilium (default: calico)")
    up.add_argument("--nodes", type=int, default=3, metavar="N", help="number of nodes (default: 3)")
    up.add_argument("--families", default="ipv4", metavar="LIST", help="ipv4, ipv6 or both (default: ipv4)")
    up.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="inject a fault (repeatable)"
    )
    up.add_argument(
        "--directory", type=Path, help="where to put kubeconfig and log (default: a temporary directory)"
    )
    up.set_defaults(run=run_up)


def list_faults(arguments: argparse.Namespace) -> int:
    """Print which checks must catch which fault, or the reverse."""
    from pytest_cniconformance.lab.faults import FAULTS

    chosen = [fault for fault in FAULTS.values() if arguments.area in (None, fault.area)]
    if not chosen:
        areas = ", ".join(dict.fromkeys(fault.area for fault in FAULTS.values()))
        raise UsageError(f"there are no faults of area {arguments.area!r}; the areas are {areas}")
    if arguments.checks:
        return _print_checks(chosen, as_json=arguments.json)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(fault) for fault in chosen], indent=2))
        return 0
    width = max(len(fault.name) for fault in chosen)
    area = ""
    for fault in sorted(chosen, key=lambda fault: fault.area):
        if fault.area != area:
            area = fault.area
            print(f"\n{area}")
        print(f"  {fault.name:<{width}}  {fault.summary}")
        print(f"  {'':<{width}}  mimics {fault.mimics}")
        print(f"  {'':<{width}}  caught by {', '.join(fault.caught_by)}")
    print(f"\n{len(chosen)} faults")
    return 0


def _print_checks(faults: Sequence[Fault], *, as_json: bool) -> int:
    """Print the faults by which each check has shown that it can fail."""
    from pytest_cniconformance.cli.catalogue import entries

    killers: dict[str, list[str]] = {}
    for fault in faults:
        for requirement in fault.caught_by:
            killers.setdefault(requirement, []).append(fault.name)
    order = [entry.requirement.id for entry in entries() if entry.requirement.id in killers]
    if as_json:
        print(json.dumps({requirement: killers[requirement] for requirement in order}, indent=2))
        return 0
    width = max(map(len, order), default=0)
    for requirement in order:
        print(f"  {requirement:<{width}}  {', '.join(killers[requirement])}")
    print(f"\n{len(order)} checks, {len(faults)} faults")
    return 0


def run_up(arguments: argparse.Namespace) -> int:
    """Run a lab in the foreground until a signal ends it.

    Raises:
        UsageError: the lab cannot start, or it died.
    """
    try:
        from pytest_cniconformance.lab.cluster import LabCluster
        from pytest_cniconformance.lab.errors import LabError
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'pytest-cniconformance[lab]'") from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="cniconformance-lab-") as temporary:
        directory: Path = arguments.directory or Path(temporary)
        try:
            with LabCluster.start(
                profile=arguments.profile,
                nodes=arguments.nodes,
                families=tuple(arguments.families.split(",")),
                faults=tuple(arguments.fault),
                directory=directory,
            ) as lab:
                _announce(lab)
                while not stop.wait(_LOOK):
                    if not lab.running:
                        raise UsageError(f"the lab has died; see {directory / 'lab.log'}")
        except LabError as error:
            raise UsageError(f"the lab cannot start: {error}") from None
    return 0


def _announce(lab: LabCluster) -> None:
    print(f"export KUBECONFIG={lab.kubeconfig}")
    print(f"# outside the cluster: {' '.join(lab.external)} COMMAND")
    for note in lab.notes:
        print(f"# {note}")
    print("# Ctrl-C stops the lab and removes everything", flush=True)
