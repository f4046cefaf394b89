# SPDX-License-Identifier: Apache-2.0
"""``python -m pytest_cniconformance.lab up``: a lab in the foreground, without the rest of the package."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

from pytest_cniconformance.lab.cluster import PROFILES, LabCluster
from pytest_cniconformance.lab.errors import LabError

_POLL = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (2: the lab cannot start, 1: it died)."""
    parser = argparse.ArgumentParser(prog="python -m pytest_cniconformance.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a lab, print its kubeconfig, stop it with Ctrl-C")
    up.add_argument("--profile", choices=PROFILES, default="calico", help="the CNI to emulate")
    up.add_argument("--nodes", type=int, default=3, help="number of nodes")
    up.add_argument("--families", default="ipv4", help="ipv4, ipv6 or ipv4,ipv6")
    up.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="inject a fault (repeatable)"
    )
    up.add_argument(
        "--directory", type=Path, help="where to put the kubeconfig (default: a temporary directory)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.directory is not None:
        return _up(chosen, chosen.directory)
    with tempfile.TemporaryDirectory(prefix="cniconformance-lab-") as directory:
        return _up(chosen, Path(directory))


def _up(chosen: argparse.Namespace, directory: Path) -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        lab = LabCluster.start(
            profile=chosen.profile,
            nodes=chosen.nodes,
            families=tuple(chosen.families.split(",")),
            faults=tuple(chosen.fault),
            directory=directory,
        )
    except LabError as error:
        print(f"the lab cannot start: {error}", file=sys.stderr)
        return 2
    with lab:
        print(f"export KUBECONFIG={lab.kubeconfig}")
        print(f"# outside the cluster: {' '.join(lab.external)} COMMAND")
        for note in lab.notes:
            print(f"# {note}")
        print("# Ctrl-C stops the lab and removes everything", flush=True)
        while not stop.wait(_POLL):
            if not lab.running:
                print(f"the lab has died; see {directory / 'lab.log'}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
