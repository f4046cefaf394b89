# SPDX-License-Identifier: Apache-2.0
"""``cniconformance evaluate``: what the NetworkPolicies in manifests mean, with no cluster at all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError

if TYPE_CHECKING:
    from pytest_cniconformance.policy import ClusterState
    from pytest_cniconformance.policy.manifests import Document

_SUFFIXES = (".yaml", ".yml", ".json")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_NAMED = 5


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="say what the NetworkPolicies in manifests mean: the reachability matrix, or why for one pair",
        description=(
            "Reads manifests (YAML, JSON, lists, several documents) and prints which pod may reach which, as the "
            "NetworkPolicy API defines it. Needs no cluster. Exit status: 0 evaluated, 2 bad input."
        ),
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, a directory, or - for stdin")
    end = "namespace/pod, a node's name or an IP address"
    parser.add_argument("--from", dest="source", metavar="NS/POD", help=f"this source only: {end}")
    parser.add_argument(
        "--to", dest="destination", metavar="NS/POD", help=f"this destination only: {end}, or ns/svc:service"
    )
    parser.add_argument(
        "--port",
        dest="ports",
        action="append",
        default=[],
        type=port,
        metavar="N[/PROTO]",
        help="TCP, UDP or SCTP port (repeatable; default: the container ports of each destination)",
    )
    parser.add_argument(
        "--external",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an address outside of the cluster, as source and as destination (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def port(text: str) -> tuple[int, str]:
    """Read ``80`` or ``80/UDP``."""
    number, slash, protocol = text.partition("/")
    protocol = protocol.upper() if slash else "TCP"
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is a number from 1 to 65535")
    if protocol not in _PROTOCOLS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: policies are defined for {', '.join(_PROTOCOLS)}; for other protocols the API leaves open "
            "what they mean (NP-ICMP-1)"
        )
    return int(number), protocol


def run(arguments: argparse.Namespace) -> int:
    """Read, evaluate, print."""
    from pytest_cniconformance.cli import verdicts
    from pytest_cniconformance.policy import ClusterState
    from pytest_cniconformance.policy.inventory import take_stock
    from pytest_cniconformance.policy.survey import Survey, name_of

    notes: list[str] = []
    stock = take_stock(_documents(arguments.files, notes))
    notes += stock.notes
    state = ClusterState.from_objects(stock.objects)
    everyone = [*sorted(pod.key for pod in state.pods), *_outside(state, arguments.external)]
    if not state.pods:
        raise UsageError("no pods and no workloads in the input: nothing to evaluate")
    sources, destinations = (
        everyone if end is None else [name_of(state, end)]
        for end in (arguments.source, arguments.destination)
    )
    survey = Survey(state, sources, destinations, arguments.ports)
    if not survey.ports:
        who = "no pod" if arguments.destination is None else destinations[0]
        raise UsageError(
            f"{who} declares {'a' if who == 'no pod' else 'no'} container port: say --port N/PROTO"
        )
    if survey.mute:
        more = f" and {len(survey.mute) - _NAMED} more" if len(survey.mute) > _NAMED else ""
        names = ", ".join(survey.mute[:_NAMED]) + more
        notes.append(f"no container ports, not evaluated as destination without --port: {names}")
    for note in notes:
        print(f"cniconformance evaluate: {note}", file=sys.stderr)
    if arguments.json:
        lines = verdicts.as_json(survey)
    elif arguments.source and arguments.destination:
        lines = verdicts.as_prose(state, survey)
    elif arguments.source or arguments.destination:
        lines = verdicts.as_list(survey)
    else:
        lines = verdicts.as_matrix(survey)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _documents(names: Sequence[str], notes: list[str]) -> Iterator[Document]:
    from pytest_cniconformance.policy.manifests import read_text

    for name, text in _texts(names):
        reading = read_text(text, name)
        notes += reading.notes
        yield from reading.documents


def _texts(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file; directories are read with everything below, hidden names left out."""
    for name in names:
        if name == "-":
            yield "stdin", _decoded("stdin", sys.stdin.buffer.read())
            continue
        path = Path(name)
        paths = [path]
        if path.is_dir():
            paths = sorted(
                p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file() and not _hidden(p, path)
            )
            if not paths:
                raise UsageError(f"{name}: no {', '.join(_SUFFIXES)} file in this directory")
        for found in paths:
            try:
                yield str(found), _decoded(str(found), found.read_bytes())
            except OSError as error:
                raise UsageError(f"{found}: {error.strerror}") from None


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def _decoded(name: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}:{line}: not UTF-8 text: {error.reason}") from None


def _outside(state: ClusterState, texts: Sequence[str]) -> list[str]:
    """Return the external addresses, each once, as they were written.

    Raises:
        UsageError: a text is no address, or an address belongs to the cluster.
    """
    from pytest_cniconformance.policy.addresses import Address, parse_address
    from pytest_cniconformance.policy.evaluate import show

    found: dict[Address, str] = {}
    for text in texts:
        address = parse_address(text)
        end = state.service_at(address) or state.resolve(text)
        if end != address:
            raise UsageError(f"--external {text}: this is the address of {show(end)}, inside the cluster")
        found.setdefault(address, text)
    return list(found.values())
