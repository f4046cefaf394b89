# SPDX-License-Identifier: Apache-2.0
"""``cniconformance cleanup``: remove what killed or kept runs left; nothing else is ever touched."""

from __future__ import annotations

import argparse

from pytest_cniconformance.cli import add_connection


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("cleanup", help="delete objects of expired runs, or of one run")
    add_connection(parser)
    parser.add_argument("--run", dest="run_id", metavar="ID", help="this run only, expired or not")
    parser.add_argument("--dry-run", action="store_true", help="list what would be deleted")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete leftovers and say what was deleted."""
    from pytest_cniconformance.kube import KubeClient, find_leftovers, sweep

    kube = KubeClient.connect(arguments.kubeconfig, arguments.context)
    leftovers = find_leftovers(kube, run_id=arguments.run_id)
    if not arguments.dry_run:
        leftovers = sweep(kube, leftovers)
    for leftover in leftovers:
        print(f"{'would delete' if arguments.dry_run else 'deleted'} {leftover}")
    if not leftovers:
        print("nothing to clean up")
    return 0
