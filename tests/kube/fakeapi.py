# SPDX-License-Identifier: Apache-2.0
"""A scripted Kubernetes API server that can misbehave in every way that a real one, or a proxy, has been seen to.

It keeps objects by path, so that well-behaved requests work; a :class:`Rule` overrides what matches it.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .fakeexec import Exec, serve_exec

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
