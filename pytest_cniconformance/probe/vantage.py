# SPDX-License-Identifier: Apache-2.0
"""Where a client outside the cluster stands, as ``--cni-external`` says it, and how an agent is started there."""

from __future__ import annotations

import base64
import io
import shlex
import sys
import zipfile
from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.probe.transport import LAUNCHER, agent_command

if TYPE_CHECKING:
    from collections.abc import Sequence

_PORTABLE = (
    "import base64,io,sys,tempfile,zipfile;d=tempfile.mkdtemp();"
    "zipfile.ZipFile(io.BytesIO(base64.b64decode(sys.argv.pop(1)))).extractall(d);"
    "sys.path.insert(0,d);from agent.__main__ import main;import shutil;shutil.rmtree(d,True);"
    "sys.exit(main(sys.argv[1:]))"
)


def describe_vantage(choice: str, *, provided: bool) -> str:
    """Name the vantage that ``--cni-external`` chooses, as reports do; ``provided``: the provider has a host outside.

    Raises:
        UsageError: the choice is none of the forms.
    """
    kind, _, rest = choice.partition(":")
    if choice == "auto" and provided:
        return "the provider's host outside the cluster"
    if choice in ("auto", "runner"):
        return "the machine that runs pytest"
    if kind == "node" and rest:
        return f"a hostNetwork pod on node {rest}"
    if kind == "exec" and rest:
        return f"`{rest}`"
    raise UsageError(f"--cni-external={choice}: use auto, runner, node:NAME or exec:COMMAND")


def vantage_command(choice: str, provided: Sequence[str], *, identity: str) -> list[str]:
    """Return the command that starts a probing agent at the vantage (not for ``node:``).

    The words of ``exec:COMMAND`` go before the agent's own command, which needs this file system
    (``exec:ip netns exec outside``). Where COMMAND has ``{agent}``, that is replaced by one word, a shell command
    that brings the agent along and needs ``python3`` only: ``exec:ssh bastion {agent}``,
    ``exec:docker exec -i client sh -c {agent}``.

    Raises:
        UsageError: COMMAND has unbalanced quotes.
    """
    own = agent_command("probe", identity, python=sys.executable, folder=LAUNCHER.parent)
    if choice == "auto":
        return [*provided, *own]
    if not choice.startswith("exec:"):
        return own
    try:
        words = shlex.split(choice.removeprefix("exec:"))
    except ValueError as error:
        raise UsageError(f"--cni-external={choice}: {error}") from None
    if not any("{agent}" in word for word in words):
        return [*words, *own]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted((LAUNCHER.parent / "agent").glob("*.py")):
            target.write(path, f"agent/{path.name}")
    packed = base64.b64encode(archive.getvalue()).decode()
    portable = shlex.join(["python3", "-I", "-S", "-c", _PORTABLE, packed, "probe", "--identity", identity])
    return [word.replace("{agent}", portable) for word in words]
