# SPDX-License-Identifier: Apache-2.0
"""``cniconformance lab``: run the embedded cluster by itself, or list the faults that it can inject."""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError

if TYPE_CHECKING:
    from pytest_cniconformance.lab.cluster import LabCluster

_LOOK = 0.5
"""Seconds between two looks at whether the lab still lives; the end itself is waited for, not polled."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its own two."""
    parser = commands.add_parser("lab", help="the embedded lab cluster: up, faults")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    faults = actions.add_parser("faults", help="list the faults and the checks that must catch them")
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
    """Print the fault table."""
    from pytest_cniconformance.lab.faults import FAULTS

    if arguments.json:
        fields = ("name", "area", "summary", "mimics")
        rows = [
            {f: getattr(x, f) for f in fields} | {"caught_by": list(x.caught_by)} for x in FAULTS.values()
        ]
        print(json.dumps(rows, indent=2))
        return 0
    width = max(map(len, FAULTS))
    area = ""
    for fault in sorted(FAULTS.values(), key=lambda fault: fault.area):
        if fault.area != area:
            area = fault.area
            print(f"\n{area}")
        print(f"  {fault.name:<{width}}  {fault.summary}")
        print(f"  {'':<{width}}  mimics {fault.mimics}; caught by {', '.join(fault.caught_by)}")
    print(f"\n{len(FAULTS)} faults")
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
