# SPDX-License-Identifier: Apache-2.0
"""How a probe session asks the server of its own pod: an abstract unix socket."""

from __future__ import annotations

import json
import socket

from .channel import Channel, Silence
from .loop import READ, Loop, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .server import Server


RETRY = 0.02
"""Seconds between two attempts to reach a server that does not listen yet."""


def control_name(identity: str) -> str:
    """Return the address of the control socket of a serving agent."""
    # Abstract: needs no writable file system. Named by identity: pods on the host network share one name space.
    return "\0cniconformance/" + identity


def bind_control(identity: str) -> socket.socket:
    """Return the listening control socket; OSError if another agent serves under this name here."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(control_name(identity))
    except OSError as error:
        raise OSError(
            error.errno, f"another agent already serves as {identity} in this network namespace"
        ) from error
    listener.listen(8)
    return listener


async def serve_control(loop: Loop, server: Server, listener: socket.socket) -> None:
    """Tell the pod's own probe sessions the bound ports and the counters."""
    listener.setblocking(False)
    while True:
        await loop.io(listener, READ, None)
        sock, _ = listener.accept()
        sock.setblocking(False)
        facts = {"ports": server.ports, "counters": server.counters, "recent": list(server.recent)}
        try:
            await Channel(loop, sock).send(json.dumps(facts).encode() + b"\n", now() + 5)
        except (OSError, Silence):
            pass
        sock.close()


async def ask_control(loop: Loop, identity: str, patience: float) -> dict[str, Any]:
    """Return the bound ports and the counters of the agent that serves as ``identity`` in this network namespace.

    A pod may be asked as soon as its container runs, before its server does: that is waited for, ``patience`` seconds.
    """
    end = now() + patience
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(control_name(identity))
            sock.setblocking(False)
            line = await Channel(loop, sock).until(b"\n", now() + 5)
            facts: dict[str, Any] = json.loads(line or b"{}")
            return facts
        except OSError as error:
            if not isinstance(error, ConnectionRefusedError) or now() >= end:
                raise OSError(error.errno, f"the pod's own server does not run: {error.strerror}") from error
        finally:
            sock.close()
        # A socket that nobody has bound yet is no event to wait for.
        await loop.suspend(min(end, now() + RETRY))
