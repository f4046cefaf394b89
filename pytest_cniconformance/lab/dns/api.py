# SPDX-License-Identifier: Apache-2.0
"""Reading the Kubernetes API: list and watch over plain HTTP/1.1, reconnected for ever."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Obj = dict[str, Any]
_WATCH_SECONDS = 60
_SILENCE = 75.0
"""Seconds without a byte after which a watch counts as lost: more than the server lets it live."""


class ApiError(Exception):
    """The API server answered with an error, or with something that is no HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class Api:
    """Where the API server is and how to prove who we are."""

    def __init__(self, url: str, *, token_file: str = "", ca_file: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--api must be a URL such as https://10.96.0.1:443, not {url!r}")
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self._token_file = token_file
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._context = ssl.create_default_context(cafile=ca_file or None)

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of the answer to one GET as they arrive.

        Raises:
            ApiError: the answer is not 200.
            OSError: the connection failed or fell silent.
        """
        with socket.create_connection((self.host, self.port), timeout=10) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrapped = self._context.wrap_socket(raw, server_hostname=self.host) if self._context else raw
            with wrapped as connection:
                connection.settimeout(_SILENCE)
                connection.sendall(self._request(path))
                with connection.makefile("rb") as stream:
                    yield from _answer(stream)

    def _request(self, path: str) -> bytes:
        headers = [f"GET {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept: application/json"]
        if self._token_file:
            # Read each time: tokens of pods are rotated.
            headers.append(f"Authorization: Bearer {Path(self._token_file).read_text('ascii').strip()}")
        return "\r\n".join([*headers, "Connection: close", "", ""]).encode()


def _answer(stream: Any) -> Iterator[bytes]:
    version, _, rest = stream.readline(65536).partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ConnectionError("the connection was closed before an answer")
    status = int(rest[:3])
    headers: dict[bytes, bytes] = {}
    while line := stream.readline(65536).strip():
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    chunks = _chunked(stream) if headers.get(b"transfer-encoding") == b"chunked" else _plain(stream, headers)
    if status != 200:
        raise ApiError(status, b"".join(chunks)[:200].decode("utf-8", "replace"))
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        yield from filter(None, whole)
    if pending:
        yield pending


def _plain(stream: Any, headers: dict[bytes, bytes]) -> Iterator[bytes]:
    left = int(headers.get(b"content-length", -1))
    while left:
        data = stream.read1(65536 if left < 0 else min(left, 65536))
        if not data:
            if left > 0:
                raise ConnectionError("the answer was cut off")
            return
        left -= len(data) if left > 0 else 0
        yield data


def _chunked(stream: Any) -> Iterator[bytes]:
    while size := int(stream.readline(1024).partition(b";")[0] or b"0", 16):
        data = stream.read(size)
        if len(data) < size:
            raise ConnectionError("the answer was cut off")
        stream.readline(16)
        yield data


class Watcher(threading.Thread):
    """Keeps a copy of all objects of one resource up to date.

    ``replace`` gets the whole list, ``change`` gets (event type, object). Both run in this thread.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        *,
        replace: Callable[[list[Obj]], None],
        change: Callable[[str, Obj], None],
        log: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"watch {path}", daemon=True)
        self.synced = threading.Event()
        self._api, self._path = api, path
        self._replace, self._change, self._log = replace, change, log
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the current event."""
        self._stopping.set()

    def run(self) -> None:
        """List, watch, and begin again when the watch ends; wait a little longer after each failure."""
        version, delay = "", 0.05
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                if not version:
                    version = self._list()
                version = self._watch(version)
                failed = time.monotonic() - started < 1.0
            except ApiError as error:
                self._log(f"{self._path}: {error}")
                version, failed = "", True
            except (OSError, ValueError) as error:
                self._log(f"{self._path}: {type(error).__name__}: {error}")
                failed = True
            except (KeyError, TypeError) as error:
                self._log(f"{self._path}: the server sent no Kubernetes object: {error!r}")
                version, failed = "", True
            delay = min(delay * 2, 2.0) if failed else 0.05
            if failed:
                self._stopping.wait(delay)

    def _list(self) -> str:
        body = json.loads(b"".join(self._api.lines(self._path)))
        self._replace(body.get("items") or [])
        self.synced.set()
        return str(body["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Follow the changes after ``version``; return the last one seen, empty to list again."""
        query = (
            f"watch=true&allowWatchBookmarks=true&timeoutSeconds={_WATCH_SECONDS}&resourceVersion={version}"
        )
        try:
            for line in self._api.lines(f"{self._path}?{query}"):
                if self._stopping.is_set():
                    break
                event = json.loads(line)
                if event["type"] == "ERROR":
                    # 410 Gone, mostly: what was missed can only be had by listing.
                    return ""
                version = str(event["object"]["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    self._change(event["type"], event["object"])
        except (OSError, ValueError) as error:
            self._log(f"{self._path}: watch ended: {type(error).__name__}: {error}")
        return version
