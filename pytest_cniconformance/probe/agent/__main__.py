# SPDX-License-Identifier: Apache-2.0
"""The command line: ``serve`` is a pod's main process, ``probe`` a session on stdin and stdout.

``first`` is an init container that sends the first packets of its pod.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys

from .addresses import PROTOCOLS, available_protocols, own_addresses
from .control import bind_control, serve_control
from .first import main_first
from .loop import Loop
from .server import Server
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


async def main_serve(loop: Loop, server: Server, wanted: list[tuple[str, int]]) -> None:
    """Listen, say so on stdout, and answer until killed."""
    listener = bind_control(server.identity)
    available = available_protocols()
    for protocol, port in wanted:
        if protocol in available:  # a kernel without SCTP; the greeting of a session says so
            server.listen(protocol, port)
    addresses = [address for found in own_addresses().values() for address in found]
    print(json.dumps({"serving": server.identity, "ports": server.ports, "ips": addresses}), flush=True)
    await loop.join(loop.spawn(serve_control(loop, server, listener)))


def leave(*_: Any) -> None:
    """End at once: there is nothing to save."""
    os._exit(0)


def main(argv: list[str]) -> int:
    """Run ``serve``, ``probe`` or ``first``; see the first lines of the package."""
    identity = os.environ.get("CNI_IDENTITY") or socket.gethostname()
    wanted: list[tuple[str, int]] = []
    targets: list[tuple[str, int]] = []
    calls: list[tuple[str, int]] = []
    window = 0.1
    arguments = iter(argv[1:])
    lingers = False
    try:
        mode = argv[0]
        for option in arguments:
            if option == "--linger":
                lingers = True
                continue
            name, _, value = option.partition("=")
            value = value or next(arguments)
            if name == "--listen":
                protocol, _, port = value.partition(":")
                wanted.append((protocol.upper(), int(port)))
                PROTOCOLS[protocol.upper()]
            elif name == "--http":
                wanted.append(("TCP", int(value)))
            elif name in ("--to", "--call"):
                host, _, port = value.rpartition("_")
                (targets if name == "--to" else calls).append((host, int(port)))
            elif name == "--window":
                window = int(value) / 1000.0
            elif name == "--identity":
                identity = value
            else:
                raise ValueError(option)
        if mode not in ("serve", "probe", "first") or (calls and not wanted):
            raise ValueError(mode)
    except (IndexError, StopIteration, ValueError, KeyError) as error:
        print(
            "usage: agent serve|probe|first [--listen PROTOCOL:PORT]... [--http PORT] [--identity NAME] [--linger]"
            f" [--to HOST_PORT]... [--call HOST_PORT]... [--window MS]: {error!r}",
            file=sys.stderr,
        )
        return 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16) if hard > 0 else 1 << 16, hard))
    loop = Loop()
    try:
        if mode == "probe":
            loop.run(Session(loop, identity).run())
        else:
            # Process 1 of a pod ignores SIGTERM unless it says otherwise, and would be waited for until its grace ends.
            signal.signal(signal.SIGTERM, signal.SIG_IGN if lingers else leave)
            signal.signal(signal.SIGINT, leave)
            server, ports = Server(loop, identity), list(dict.fromkeys(wanted))
            if mode == "serve":
                loop.run(main_serve(loop, server, ports))
            else:
                loop.run(main_first(loop, server, ports, targets, calls, window))
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"agent: {error.strerror or error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    os._exit(0)  # threads may still wait for a resolver


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
