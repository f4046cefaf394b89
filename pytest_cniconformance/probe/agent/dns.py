# SPDX-License-Identifier: Apache-2.0
"""Resolving a name: by hand with every step shown, or by the system."""

# pathlib would cost more than the rest of the start-up:
# ruff: noqa: PTH123

from __future__ import annotations

import errno
import os
import socket
import struct

from .addresses import family_of
from .channel import Channel, Silence, connect
from .dnsmessage import TYPES, dns_parse, dns_query
from .loop import READ, Loop, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def resolv_conf(path: str = "/etc/resolv.conf") -> dict[str, Any]:
    """Return nameservers, search path and ndots as a resolver would read them."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    try:
        with open(path) as file:
            for line in file:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    servers.append(words[1])
                elif len(words) > 1 and words[0] in ("search", "domain"):
                    search = words[1:]
                elif words and words[0] == "options":
                    ndots = next(
                        (int(w[6:]) for w in words if w.startswith("ndots:") and w[6:].isdigit()), ndots
                    )
    except OSError:
        pass
    return {"nameservers": servers, "search": search, "ndots": ndots}


def candidates(name: str, config: dict[str, Any]) -> list[str]:
    """Return the names that a resolver tries for this one, in its order."""
    if name.endswith("."):
        return [name]
    tail = [f"{name}.{domain.rstrip('.')}." for domain in config["search"]]
    return [name + ".", *tail] if name.count(".") >= config["ndots"] else [*tail, name + "."]


async def dns_ask(
    loop: Loop, server: str, port: int, name: str, kind: str, tcp: bool, wait: float, edns: int = 0
) -> dict[str, Any]:
    """Send one query (over UDP up to three times within ``wait`` seconds) and return the parsed answer."""
    began = now()
    result: dict[str, Any] = {
        "name": name,
        "server": server,
        "tcp": tcp,
        "rcode": "",
        "answers": [],
        "authority": [],
        "truncated": False,
        "size": 0,
    }
    identifier = struct.unpack("!H", os.urandom(2))[0]
    query = dns_query(identifier, name, TYPES[kind], edns)
    sock = socket.socket(
        family_of(server) or socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    )
    try:
        sock.setblocking(False)
        number = await connect(loop, sock, (server, port), began + wait)
        if number:
            raise OSError(number, os.strerror(number))
        if tcp:
            channel = Channel(loop, sock)
            await channel.send(struct.pack("!H", len(query)) + query, began + wait)
            size = await channel.exactly(2, began + wait)
            data = await channel.exactly(struct.unpack("!H", size)[0], began + wait) if size else None
            if not data:
                raise OSError(errno.ECONNRESET, "closed without an answer")
        else:
            data = b""
            for number in (1, 2, 3):
                sock.send(query)
                while not data and await loop.io(sock, READ, began + wait * number / 3):
                    packet = sock.recv(65535)
                    data = packet if packet[:2] == query[:2] else b""
                if data:
                    break
            if not data:
                raise Silence
        result.update(dns_parse(data), size=len(data))
    except Silence:
        result["error"] = f"no answer in {wait * 1000:.0f} ms"
    except (ValueError, IndexError, struct.error) as error:
        result["error"] = f"the answer is malformed: {error}"
    except OSError as error:
        result["error"] = error.strerror or str(error)
    finally:
        sock.close()
    result["us"] = round((now() - began) * 1e6)
    return result


async def op_resolve(loop: Loop, request: dict[str, Any]) -> dict[str, Any]:
    """Resolve by the system (``via: system``) or by hand, along the search path unless ``search`` is false."""
    name, wait = request["name"], request.get("wait", 2000) / 1000.0
    if request.get("via") == "system":
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(request.get("f", 0), socket.AF_UNSPEC)
        began = now()
        try:
            found = await loop.thread(
                began + wait, socket.getaddrinfo, name, None, family, socket.SOCK_STREAM
            )
        except OSError as error:
            return {
                "addresses": [],
                "error": error.strerror or str(error),
                "us": round((now() - began) * 1e6),
            }
        us = round((now() - began) * 1e6)
        if found is None:
            return {"addresses": [], "error": f"no answer in {wait * 1000:.0f} ms", "us": us}
        return {"addresses": list(dict.fromkeys(entry[4][0] for entry in found)), "us": us}
    config = resolv_conf()
    server = request.get("server") or next(iter(config["nameservers"]), "127.0.0.1")
    names = candidates(name, config) if request.get("search", True) else [name.rstrip(".") + "."]
    steps = []
    for candidate in names:
        step = await dns_ask(
            loop,
            server,
            request.get("port", 53),
            candidate,
            request.get("type", "A"),
            request.get("tcp", False),
            wait,
            request.get("edns", 0),
        )
        steps.append(step)
        if step["rcode"] == "NOERROR" and step["answers"]:
            break
    final = (
        steps[-1] if steps[-1]["answers"] else next((s for s in steps if s["rcode"] == "NOERROR"), steps[-1])
    )
    return {"final": final, "steps": steps, "config": config}
