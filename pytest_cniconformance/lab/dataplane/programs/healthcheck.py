# SPDX-License-Identifier: Apache-2.0
"""Answer the health checks of load balancers on a node: 200 with local endpoints, 503 without.

stdin: ``{"ports": [[30123, 2], ...]}``: each port and its number of local endpoints. The first call in a network
namespace leaves a server behind, and later ones tell it what is new, through a socket whose name is the namespace's.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys

_NAME = "\0lab-healthcheck"


def answer(connection: socket.socket, count: int) -> None:
    """Answer one request, whatever it asks."""
    status = "200 OK" if count else "503 Service Unavailable"
    body = json.dumps({"localEndpoints": count}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connection, contextlib.suppress(OSError):
        connection.settimeout(1)
        connection.recv(4096)
        connection.sendall(head.encode() + body)


def listen(port: int) -> socket.socket:
    """Listen on all addresses of both families."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=64)


def serve(control: socket.socket, counts: dict[int, int]) -> None:
    """Answer for ever; the control socket brings new counts."""
    listeners: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ, None)
    while True:
        for port in listeners.keys() - counts.keys():
            selector.unregister(listeners[port])
            listeners.pop(port).close()
        for port in counts.keys() - listeners.keys():
            with contextlib.suppress(OSError):
                listeners[port] = listen(port)
                selector.register(listeners[port], selectors.EVENT_READ, port)
        for key, _ in selector.select():
            if key.data is None:
                counts = dict(json.loads(control.recv(1 << 16)))
            elif key.data in counts:
                answer(listeners[key.data].accept()[0], counts[key.data])


def main() -> None:
    """Tell the server of this network namespace, or become it."""
    ports = json.load(sys.stdin)["ports"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(json.dumps(ports).encode(), _NAME)
            return
        except OSError:
            pass  # nobody there yet
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(_NAME)
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    serve(control, dict(ports))


if __name__ == "__main__":
    main()
