# SPDX-License-Identifier: Apache-2.0
"""The console script ``cniconformance``: what is not a test run."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from pytest_cniconformance import __version__
from pytest_cniconformance.model.failure import ClusterError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, 1 for findings, 2 for bad input or no cluster."""
    arguments = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an arrow is no reason to fail in an ASCII locale
    try:
        return int(arguments.run(arguments))
    except (UsageError, ClusterError) as error:
        print(f"cniconformance {arguments.command}: {_in_own_options(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def _in_own_options(message: str) -> str:
    """Return a message about a connection, which names pytest's options, with those of this command."""
    from pytest_cniconformance.kube.errors import CHOOSE_ANOTHER

    message = message.replace(
        CHOOSE_ANOTHER, "Choose another cluster with --kubeconfig=PATH or --context=NAME"
    )
    return message.replace("--cni-kubeconfig", "--kubeconfig").replace("--cni-context", "--context")


def _parser() -> argparse.ArgumentParser:
    from pytest_cniconformance.cli import catalogue, cleanup, doctor, evaluate, lab

    parser = argparse.ArgumentParser(
        prog="cniconformance",
        description="Companion of `pytest --cni=NAME`: lists checks, looks at clusters, evaluates policies, runs the lab.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (catalogue, doctor, cleanup, evaluate, lab):
        module.add(commands)
    return parser


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a cluster: pytest's, without ``cni-``."""
    parser.add_argument(
        "--kubeconfig", metavar="PATH", help="kubeconfig file (default: KUBECONFIG, ~/.kube/config)"
    )
    parser.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig (default: its current one)"
    )
