# SPDX-License-Identifier: Apache-2.0
"""A scripted Kubernetes API server that can misbehave in every way that a real one, or a proxy, has been seen to.

It keeps objects by path, so that well-behaved requests work; a :class:`Rule` overrides what matches it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Obj = dict[str, Any]
PLURALS = {
    "pods": ("v1", "Pod"),
    "namespaces": ("v1", "Namespace"),
    "nodes": ("v1", "Node"),
    "services": ("v1", "Service"),
    "configmaps": ("v1", "ConfigMap"),
    "events": ("v1", "Event"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "globalnetworkpolicies": ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
}


@dataclass
class Request:
    """What the server was sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any = None

    def one(self, name: str) -> str | None:
        """Return a query parameter."""
        return self.query.get(name, [None])[0]


@dataclass
class Rule:
    """Do ``act`` in place of the ordinary answer for the next ``times`` matching requests."""

    method: str
    pattern: str
    act: Callable[[Handler, Request], None]
    times: int = 1


class Handler(BaseHTTPRequestHandler):
    """One connection; keeps it alive like a real API server."""

    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def serve(self) -> None:
        """Answer one request by the first rule that matches, else from the store."""
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        body = json.loads(raw) if raw else None
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, parts.path, parse_qs(parts.query), headers, body)
        api = self.server.api
        with api.lock:
            api.requests.append(request)
            rule = next((r for r in api.rules if r.times > 0 and matches(r, request)), None)
            if rule:
                rule.times -= 1
        (rule.act if rule else api.answer)(self, request)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    # -- ways to answer -----------------------------------------------------------------------------------------

    def json(self, status: int, document: Obj, **headers: str) -> None:
        """Send a complete JSON answer."""
        self.raw(status, json.dumps(document).encode(), **headers)

    def raw(self, status: int, data: bytes, **headers: str) -> None:
        """Send a complete answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def fail(
        self, status: int, reason: str, message: str, causes: list[Obj] | None = None, **headers: str
    ) -> None:
        """Send a ``Status`` failure."""
        document: Obj = {
            "kind": "Status",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": status,
        }
        if causes:
            document["details"] = {"causes": causes}
        self.json(status, document, **headers)

    def cut(self) -> None:
        """Drop the connection without another word."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def start_stream(self) -> None:
        """Begin a chunked answer."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Content-Type", "application/json")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """Send one chunk; an empty one ends the answer."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def event(self, kind: str, obj: Obj) -> None:
        """Send one watch event."""
        self.chunk(json.dumps({"type": kind, "object": obj}).encode() + b"\n")


def matches(rule: Rule, request: Request) -> bool:
    watching = "true" in request.query.get("watch", [])
    method = "WATCH" if watching else request.method
    return rule.method == method and re.fullmatch(rule.pattern, request.path) is not None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128
    api: FakeApi

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break here by design."""


@dataclass
class FakeApi:
    """The server and its script."""

    tls: ssl.SSLContext | None = None
    protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
    commands: dict[str, Callable[[Exec], None]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, Obj] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    groups: dict[str, list[Obj]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.stopping = False
        self.version = 100
        self.log: list[tuple[int, str, str, Obj]] = []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.api = self
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The address that goes into a kubeconfig."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop and wait for every connection's thread."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    # -- script -------------------------------------------------------------------------------------------------

    def on(self, method: str, pattern: str, act: Callable[[Handler, Request], None], times: int = 1) -> None:
        """Override the next ``times`` requests; method ``WATCH`` means a GET with ``watch=true``."""
        self.rules.append(Rule(method, pattern, act, times))

    def sent(self, method: str, pattern: str = ".*") -> list[Request]:
        """Return the requests that came so far."""
        with self.lock:
            return [r for r in self.requests if matches(Rule(method, pattern, self.answer), r)]

    def put(self, path: str, obj: Obj, kind: str | None = None) -> Obj:
        """Store an object and tell the watchers."""
        with self.changed:
            self.version += 1
            known = self.objects.get(path)
            metadata = {
                "uid": f"uid-{self.version}",
                **(known or {}).get("metadata", {}),
                **obj.get("metadata", {}),
            }
            metadata["resourceVersion"] = str(self.version)
            metadata.setdefault("name", path.rpartition("/")[2])
            space = re.search(r"/namespaces/([^/]+)/", path)
            if space:
                metadata.setdefault("namespace", space[1])
            version, default_kind = PLURALS.get(path.split("/")[-2], ("v1", "Thing"))
            stored = {"apiVersion": version, "kind": default_kind, **obj, "metadata": metadata}
            self.objects[path] = stored
            self.log.append((self.version, kind or ("MODIFIED" if known else "ADDED"), path, stored))
            self.changed.notify_all()
            return stored

    def remove(self, path: str) -> Obj:
        """Delete an object and tell the watchers."""
        with self.changed:
            self.version += 1
            gone = self.objects.pop(path)
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
            self.log.append((self.version, "DELETED", path, gone))
            self.changed.notify_all()
            return gone

    # -- ordinary answers ---------------------------------------------------------------------------------------

    def answer(self, handler: Handler, request: Request) -> None:
        """Behave."""
        if request.path.endswith("/exec"):
            return serve_exec(self, handler, request)
        if request.path == "/version":
            return handler.json(
                200, {"major": "1", "minor": "33", "gitVersion": "v1.33.1", "platform": "linux/amd64"}
            )
        if request.path.endswith("/selfsubjectaccessreviews"):
            asked = request.body["spec"]["resourceAttributes"]
            name = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            allowed = (asked["verb"], name) not in self.denied
            return handler.json(201, {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}})
        if request.path in ("/api", "/apis") or request.path.removeprefix("/apis/") in self.groups:
            return self.discovery(handler, request)
        if request.path.endswith("/log"):
            return handler.raw(200, f"log tail={request.one('tailLines')}\n".encode())
        name = request.path.rpartition("/")[2]
        if name in PLURALS and request.path.split("/")[-2] != "namespaces":
            return self.collection(handler, request)
        return self.item(handler, request)

    def discovery(self, handler: Handler, request: Request) -> None:
        if request.path == "/api":
            return handler.json(200, {"kind": "APIVersions", "versions": []})
        if request.path == "/apis":
            versions = [{"groupVersion": name} for name in self.groups]
            return handler.json(200, {"kind": "APIGroupList", "groups": [{"versions": versions}]})
        resources = self.groups[request.path.removeprefix("/apis/")]
        return handler.json(200, {"kind": "APIResourceList", "resources": resources})

    def under(self, path: str) -> list[tuple[str, Obj]]:
        """Return the objects of a collection; one without a namespace in its path covers all namespaces."""
        prefix, _, plural = path.rpartition("/")
        pattern = f"{re.escape(prefix)}(/namespaces/[^/]+)?/{plural}/[^/]+"
        return sorted((p, o) for p, o in self.objects.items() if re.fullmatch(pattern, p))

    def collection(self, handler: Handler, request: Request) -> None:
        if request.method == "POST":
            path = f"{request.path}/{request.body['metadata']['name']}"
            if path in self.objects:
                return handler.fail(409, "AlreadyExists", f'"{path.rpartition("/")[2]}" already exists')
            if "All" in request.query.get("dryRun", []):
                return handler.json(201, request.body)
            return handler.json(201, self.put(path, request.body))
        if request.one("watch") == "true":
            return self.stream(handler, request)
        with self.lock:
            found = [obj for _, obj in self.under(request.path) if selected(obj, request)]
            version = str(self.version)
        start = int(request.one("continue") or 0)
        limit = int(request.one("limit") or 0) or len(found) or 1
        metadata: Obj = {"resourceVersion": version}
        if start + limit < len(found):
            metadata["continue"] = str(start + limit)
        items = [{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in found]
        return handler.json(
            200, {"kind": "List", "metadata": metadata, "items": items[start : start + limit]}
        )

    def stream(self, handler: Handler, request: Request) -> None:
        handler.start_stream()
        seen = int(request.one("resourceVersion") or 0)
        deadline = time.monotonic() + float(request.one("timeoutSeconds") or 60)
        prefix, _, plural = request.path.rpartition("/")
        pattern = f"{re.escape(prefix)}(/namespaces/[^/]+)?/{plural}/[^/]+"
        while not self.stopping and time.monotonic() < deadline:
            with self.changed:
                new = [entry for entry in self.log if entry[0] > seen]
                if not new:
                    self.changed.wait(0.1)
            for version, kind, path, obj in new:
                seen = version
                if re.fullmatch(pattern, path) and selected(obj, request):
                    handler.event(kind, obj)
        handler.chunk(b"")

    def item(self, handler: Handler, request: Request) -> None:
        path = request.path
        known = self.objects.get(path)
        if request.method == "PATCH":
            status = 200 if known or "apply" not in request.headers["content-type"] else 201
            if known is None and status == 200:
                return handler.fail(404, "NotFound", f'"{path.rpartition("/")[2]}" not found')
            return handler.json(status, self.put(path, {**(known or {}), **request.body}))
        if known is None:
            return handler.fail(
                404, "NotFound", f'{path.split("/")[-2]} "{path.rpartition("/")[2]}" not found'
            )
        if request.method == "DELETE":
            wanted = ((request.body or {}).get("preconditions") or {}).get("uid")
            if wanted and wanted != known["metadata"]["uid"]:
                return handler.fail(409, "Conflict", "the UID in the precondition does not match")
            return handler.json(200, self.remove(path))
        return handler.json(200, known)


def selected(obj: Obj, request: Request) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for part in filter(None, (request.one("labelSelector") or "").split(",")):
        key, equals, value = part.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for part in filter(None, (request.one("fieldSelector") or "").split(",")):
        key, _, value = part.partition("=")
        found: Any = obj
        for step in key.split("."):
            found = (found or {}).get(step)
        if found != value:
            return False
    return True


# -- exec ---------------------------------------------------------------------------------------------------------


class Exec:
    """The server's end of one exec stream."""

    def __init__(self, handler: Handler, protocol: str, argv: list[str]) -> None:
        self.handler = handler
        self.protocol = protocol
        self.argv = argv
        self.frames: list[tuple[int, int]] = []
        self.pings = 0
        self.stdin: queue.Queue[bytes | None] = queue.Queue()
        self.lock = threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def frame(self, opcode: int, data: bytes, final: bool = True) -> None:
        """Send one websocket frame."""
        head = bytes([(0x80 if final else 0) | opcode])
        if len(data) < 126:
            head += bytes([len(data)])
        elif len(data) < 65536:
            head += b"\x7e" + struct.pack("!H", len(data))
        else:
            head += b"\x7f" + struct.pack("!Q", len(data))
        with self.lock:
            self.handler.connection.sendall(head + data)

    def out(self, data: bytes, channel: int = 1) -> None:
        """Write to stdout (1), stderr (2) or the error channel (3)."""
        self.frame(2, bytes([channel]) + data)

    def exit(self, code: int) -> None:
        """Report the exit code and close, as the API server does."""
        status: Obj = {"kind": "Status", "status": "Success"}
        if code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {
                "kind": "Status",
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code: {code}",
                "details": {"causes": causes},
            }
        self.out(json.dumps(status).encode(), 3)
        self.frame(8, struct.pack("!H", 1000))

    def input(self) -> Iterator[bytes]:
        """Yield stdin until it is closed."""
        while (data := self.stdin.get(timeout=30)) is not None:
            yield data

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes of stdin."""
        data = b""
        while len(data) < size:
            data += self.stdin.get(timeout=30) or b""
        return data

    def read(self) -> None:
        try:
            while True:
                first, second = self.take(2)
                size = second & 0x7F
                if size == 126:
                    size = struct.unpack("!H", self.take(2))[0]
                elif size == 127:
                    size = struct.unpack("!Q", self.take(8))[0]
                mask = self.take(4)
                data = self.take(size)
                whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
                data = whole.to_bytes(size, "big")
                opcode = first & 15
                self.frames.append((opcode, size))
                if opcode == 8:
                    break
                if opcode == 9:
                    self.pings += 1
                    self.frame(10, data)
                elif opcode == 2 and data[0] == 0:
                    self.stdin.put(data[1:])
                elif opcode == 2 and data[0] == 255:
                    self.stdin.put(None)
        except (OSError, ValueError):
            pass
        self.stdin.put(None)

    def take(self, size: int) -> bytes:
        data: bytes = self.handler.rfile.read(size)
        if len(data) < size:
            raise OSError
        return data


def serve_exec(api: FakeApi, handler: Handler, request: Request) -> None:
    """Switch to a websocket and run the scripted command."""
    asked = [part.strip() for part in request.headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((name for name in asked if name in api.protocols), None)
    if chosen is None or request.headers.get("upgrade", "").lower() != "websocket":
        return handler.fail(400, "BadRequest", "no common protocol")
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.close_connection = True
    handler.send_response(101)
    for name, value in (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
        ("Sec-WebSocket-Protocol", chosen),
    ):
        handler.send_header(name, value)
    handler.end_headers()
    argv = request.query["command"]
    session = Exec(handler, chosen, argv)
    command = api.commands.get(argv[0]) or COMMANDS.get(argv[0])
    if command is None:
        message = f'exec: "{argv[0]}": executable file not found in $PATH'
        session.out(
            json.dumps({"status": "Failure", "reason": "InternalError", "message": message}).encode(), 3
        )
        session.frame(8, struct.pack("!H", 1000))
    else:
        try:
            command(session)
        except OSError:
            pass
    session.reader.join(10)


def _cat(session: Exec) -> None:
    for data in session.input():
        session.out(data)
    session.exit(0)


def _sh(session: Exec) -> None:
    """Understand just the wrapper that replaces the end of stdin before v5."""
    script, size, argv = session.argv[2], int(session.argv[4]), session.argv[5:]
    assert script == 'n=$1; shift; head -c "$n" | "$@"', script
    assert argv == ["cat"]
    session.out(session.exactly(size))
    session.exit(0)


COMMANDS: dict[str, Callable[[Exec], None]] = {
    "true": lambda session: session.exit(0),
    "cat": _cat,
    "sh": _sh,
    "exit": lambda session: session.exit(int(session.argv[1])),
}
