# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping a lab cluster: the synchronous face of the lab."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytest_cniconformance.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROFILES = ("flannel", "calico", "cilium")
FAMILIES = (("ipv4",), ("ipv6",), ("ipv4", "ipv6"), ("ipv6", "ipv4"))
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0


@dataclass
class LabCluster:
    """A running lab. Use ``start`` to get one and ``stop`` (or ``with``) to end it.

    It cannot outlive its process: however that ends, every pod, link, namespace and mount of the lab goes too.
    """

    profile: str
    nodes: int
    families: tuple[str, ...]
    faults: tuple[str, ...]
    directory: Path
    kubeconfig: Path
    """Path of the kubeconfig, mode 0600."""
    context: str
    """``lab-<profile>``."""
    server: str
    """URL of the API server."""
    external: list[str]
    """Put before a command, it runs on a host outside the cluster, with an address next to the nodes'."""
    notes: list[str]
    """What a reader of results from this lab has to know."""
    _process: subprocess.Popen[bytes] = field(repr=False)
    _alive: int = field(repr=False)
    """The pipe whose closing ends the lab."""

    @classmethod
    def start(
        cls,
        *,
        profile: str = "calico",
        nodes: int = 3,
        families: Sequence[str] = ("ipv4",),
        faults: Sequence[str] = (),
        directory: Path,
        timeout: float = _START_TIMEOUT,
    ) -> Self:
        """Start a lab and return once its nodes and its DNS are Ready (1-2 s).

        ``directory`` receives the kubeconfig and ``lab.log`` while the lab runs. Raises LabError with one clear
        message when the machine cannot run a lab, and for arguments that make no sense.
        """
        _check(profile, nodes, tuple(families))
        directory.mkdir(parents=True, exist_ok=True)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        alive_read, alive_write = os.pipe2(os.O_CLOEXEC)
        request = {
            "profile": profile,
            "nodes": nodes,
            "families": list(families),
            "faults": list(faults),
            "directory": str(directory.resolve()),
            "parent": os.getpid(),
            "status_fd": status_write,
            "alive_fd": alive_read,
        }
        try:
            with (directory / "lab.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "pytest_cniconformance.lab.supervisor", json.dumps(request)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(status_write, alive_read),
                    # Ctrl-C in a terminal must reach the owner of the lab only, who then stops it in order.
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                )
        except BaseException:
            os.close(status_read)
            os.close(alive_write)
            raise
        finally:
            os.close(status_write)
            os.close(alive_read)
        try:
            answer = _await_ready(status_read, process, directory, timeout)
            return cls(
                profile=profile,
                nodes=nodes,
                families=tuple(families),
                faults=tuple(faults),
                directory=directory,
                kubeconfig=directory / "kubeconfig",
                context=answer["context"],
                server=answer["server"],
                external=_outside(answer["daemon"]),
                notes=answer["notes"],
                _process=process,
                _alive=alive_write,
            )
        except BaseException:
            os.close(alive_write)
            process.wait(_STOP_TIMEOUT)
            raise
        finally:
            os.close(status_read)

    @property
    def running(self) -> bool:
        """Whether the lab still works; it ends by itself only after an internal error (see ``lab.log``)."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the lab and wait until it is gone; harmless when it is already."""
        if self._alive < 0:
            return
        died = not self.running
        os.close(self._alive)
        self._alive = -1
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()  # takes the daemon with it, and so everything else
            self._process.wait()
        self.kubeconfig.unlink(missing_ok=True)
        if not died:  # otherwise the log says why
            (self.directory / "lab.log").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _check(profile: str, nodes: int, families: tuple[str, ...]) -> None:
    if sys.platform != "linux":
        raise LabError("the lab is made of Linux network namespaces; run it on Linux (or in WSL 2)")
    if profile not in PROFILES:
        raise LabError(f"the lab has no profile {profile!r}; it emulates {', '.join(PROFILES)}")
    if not 1 <= nodes <= 100:
        raise LabError(f"a lab has 1 to 100 nodes, not {nodes}")
    if families not in FAMILIES:
        raise LabError(f"unknown address families {families}; use ipv4, ipv6, or both")


def _await_ready(
    status: int, process: subprocess.Popen[bytes], directory: Path, timeout: float
) -> dict[str, Any]:
    """Read the supervisor's reports until the lab is ready. Raises LabError."""
    deadline = time.monotonic() + timeout
    buffer, stage, daemon = b"", "starting", 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([status], [], [], left)[0]:
            raise LabError(
                f"the lab was not ready after {timeout:g} s (it was {stage}).{_tail(directory)} "
                "Is the machine overloaded? Otherwise this is a defect of the lab."
            )
        chunk = os.read(status, 1 << 16)
        if not chunk:
            process.wait(_STOP_TIMEOUT)
            raise LabError(f"the lab died while {stage}.{_tail(directory)}")
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise LabError(message["error"])
            stage = message.get("stage", stage)
            daemon = message.get("daemon", daemon)
            if "ready" in message:
                return {**message["ready"], "daemon": daemon}


def _outside(daemon: int) -> list[str]:
    """Return the command that enters the outside host's network, of a daemon with this process id."""
    argv = ["nsenter", f"--net=/proc/{daemon}/root/run/netns/outside"]
    if os.geteuid() != 0:
        argv += [f"--user=/proc/{daemon}/ns/user", "--preserve-credentials"]
    return [*argv, "--"]


def _tail(directory: Path) -> str:
    try:
        lines = (directory / "lab.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f" Last words in {directory / 'lab.log'}: {' | '.join(lines[-3:])}." if lines else ""
