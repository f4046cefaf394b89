# SPDX-License-Identifier: Apache-2.0
"""A scripted API server: lists and watches of a few objects, and misbehaviour on demand."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Obj = dict[str, Any]
PATHS = {
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Pod": "/api/v1/pods",
}
_END = object()


class FakeApi:
    """Holds objects; ``put`` and ``delete`` reach the watches that are open."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.fail_next: list[int] = []
        self.watching = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._version = 1
        self._objects: dict[str, dict[tuple[str, str], Obj]] = {path: {} for path in PATHS.values()}
        self._history: dict[str, list[tuple[int, Obj]]] = {path: [] for path in PATHS.values()}
        self._watches: dict[str, list[queue.Queue[Any]]] = {path: [] for path in PATHS.values()}
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def put(self, obj: Obj) -> None:
        with self._lock:
            path, key = PATHS[obj["kind"]], (obj["metadata"]["namespace"], obj["metadata"]["name"])
            event = "MODIFIED" if key in self._objects[path] else "ADDED"
            self._version += 1
            obj["metadata"]["resourceVersion"] = str(self._version)
            self._objects[path][key] = obj
            self._record(path, {"type": event, "object": obj})

    def delete(self, kind: str, namespace: str, name: str) -> None:
        with self._lock:
            obj = self._objects[PATHS[kind]].pop((namespace, name))
            self._version += 1
            obj["metadata"]["resourceVersion"] = str(self._version)
            self._record(PATHS[kind], {"type": "DELETED", "object": obj})

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Delete without telling anyone, as during an outage of the watch."""
        with self._lock:
            del self._objects[PATHS[kind]][namespace, name]

    def gone(self, kind: str) -> None:
        """End the watches of a kind with 410."""
        with self._lock:
            status = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {}}
            self._send(PATHS[kind], {"type": "ERROR", "object": status})
            self._send(PATHS[kind], _END)

    def cut(self, kind: str) -> None:
        """Cut the watches of a kind in the middle of a line."""
        with self._lock:
            self._send(PATHS[kind], b'{"type":"ADD')
            self._send(PATHS[kind], _END)

    def close(self) -> None:
        with self._lock:
            for path in self._watches:
                self._send(path, _END)
        self._server.shutdown()
        self._server.server_close()

    def _record(self, path: str, event: Obj) -> None:
        self._history[path].append((self._version, event))
        self._send(path, event)

    def _send(self, path: str, event: Any) -> None:
        for watch in self._watches[path]:
            watch.put(event)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.requests.append(request.path)
        self.tokens.add(request.headers.get("Authorization", ""))
        if self.fail_next:
            request.send_response(self.fail_next.pop(0))
            request.send_header("Content-Length", "4")
            request.end_headers()
            request.wfile.write(b"oops")
            return
        query = parse_qs(parts.query)
        watch = "watch" in query
        events: queue.Queue[Any] = queue.Queue()
        with self._lock:
            items = list(self._objects[parts.path].values())
            version = str(self._version)
            if watch:
                since = int(query["resourceVersion"][0])
                for number, event in self._history[parts.path]:
                    if number > since:
                        events.put(event)
                self._watches[parts.path].append(events)
        if not watch:
            body = json.dumps(
                {"kind": "List", "metadata": {"resourceVersion": version}, "items": items}
            ).encode()
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
            return
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.flush()
        self.watching.release()
        while (event := events.get()) is not _END:
            data = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
            # Split, because chunks and lines need not coincide.
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                request.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        with self._lock:
            self._watches[parts.path].remove(events)
        request.close_connection = True
