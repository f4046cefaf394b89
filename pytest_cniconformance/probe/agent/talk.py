# SPDX-License-Identifier: Apache-2.0
"""What is said on a connection (a line, a datagram, an HTTP request), and whether the answer belongs to it."""

from __future__ import annotations

import errno
import json
import socket

from .judgement import Try, icmp_error
from .loop import READ, Loop
from .target import Target
from .wire import fresh_nonce, pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .channel import Channel


def check_answer(reply: Any, nonce: str, target: Target, outcome: Try, echo: bool) -> None:
    """Judge an answer by its nonce, its author and its echo."""
    if not isinstance(reply, dict) or reply.get("n") != nonce:
        outcome.say("probe-error", f"the answer is not from an agent: {str(reply)[:60]!r}")
        return
    outcome.responder, outcome.peer = reply.get("i", ""), reply.get("p", "")
    outcome.port = reply.get("o", 0)
    if target.expect and outcome.responder != target.expect:
        outcome.say("probe-error", f"answered by {outcome.responder}, not by {target.expect}")
    elif not echo:
        outcome.say("probe-error", f"the payload of {target.payload} bytes came back altered")
    else:
        outcome.say("open")


async def ask_line(channel: Channel, target: Target, outcome: Try, deadline: float) -> None:
    """Exchange one line (and a payload) over a stream."""
    nonce = fresh_nonce()
    payload = pattern(target.payload)
    request: dict[str, Any] = {"n": nonce, "q": 1}
    if payload:
        request.update(l=len(payload), e=1)
    await channel.send(json.dumps(request, separators=(",", ":")).encode() + b"\n" + payload, deadline)
    await channel.loop.io(channel.sock, READ, deadline)
    line = await channel.until(b"\n", deadline)
    echo = await channel.exactly(len(payload), deadline) if line is not None else None
    if line is None or echo is None:
        outcome.say("refused", "closed after accept, without an answer", firm=False)
        return
    try:
        reply = json.loads(line)
    except ValueError:
        reply = line
    check_answer(reply, nonce, target, outcome, echo == payload)


async def ask_datagram(
    loop: Loop, sock: socket.socket, target: Target, outcome: Try, deadline: float
) -> None:
    """Exchange one datagram; a stray one is passed over."""
    nonce = fresh_nonce()
    payload = pattern(target.payload)
    request = {"n": nonce, "e": 1} if payload else {"n": nonce}
    packet = json.dumps(request).encode() + b"\n" + payload
    sock.send(packet)
    while await loop.io(sock, READ, deadline):
        try:
            line, _, echo = sock.recv(65535).partition(b"\n")
            reply = json.loads(line)
        except BlockingIOError:
            continue
        except ValueError:
            continue  # a stray datagram
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            icmp_error(sock)
            sock.send(packet)  # the path's MTU is now known: the kernel fragments
            continue
        if isinstance(reply, dict) and reply.get("n") == nonce:
            check_answer(reply, nonce, target, outcome, echo == payload)
            return


async def ask_http(channel: Channel, target: Target, outcome: Try, deadline: float) -> None:
    """Make one HTTP request and judge the answer by its head."""
    http = target.http or {}
    nonce = fresh_nonce()
    body = str(http.get("body", "")).encode()
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {
        "Host": f"{host}:{target.port}",
        "User-Agent": "cniconformance",
        "Connection": "close",
        "cni-nonce": nonce,
    }
    method = http.get("method", "GET")
    if body or method in ("POST", "PUT", "PATCH"):
        headers["Content-Length"] = str(len(body))
    headers.update(http.get("headers") or {})
    lines = [f"{method} {http.get('path', '/')} HTTP/1.1"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    await channel.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body, deadline)
    head = await channel.until(b"\r\n\r\n", deadline)
    if head is None:
        outcome.say("refused", "closed after accept, without an answer", firm=False)
        return
    first, *rest = head.decode("latin-1").split("\r\n")
    seen = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        outcome.say("probe-error", f"the answer is not HTTP: {first[:60]!r}")
        return
    outcome.status = int(words[1])
    outcome.responder, outcome.peer = seen.get("cni-responder", ""), seen.get("cni-peer", "")
    if outcome.status == 403:
        outcome.say("http-denied", f"answered by {seen.get('server') or 'an intermediary'}")
    elif outcome.responder and seen.get("cni-nonce") != nonce:
        outcome.say("probe-error", "the answer is to another request")
    elif target.expect and outcome.responder != target.expect:
        who = outcome.responder or seen.get("server") or "an intermediary"
        outcome.say("probe-error", f"answered by {who}, not by {target.expect}")
    elif outcome.status >= 500 and not outcome.responder:
        # A proxy that cannot reach the server: neither open nor proof of a deny.
        outcome.say("probe-error", f"HTTP {outcome.status} from {seen.get('server') or 'an intermediary'}")
    else:
        outcome.say("open")
