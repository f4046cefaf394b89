# SPDX-License-Identifier: Apache-2.0
"""A streaming answer, cut into lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from urllib3.exceptions import HTTPError


class Lines:
    """The complete lines of a streaming answer. A line that was cut off is dropped, not delivered."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection: what is still in it is of no use to another request."""
        self._response.close()
        self._response.release_conn()

    def limit(self, seconds: float) -> None:
        """Let the next read take at most ``seconds``."""
        sock = getattr(getattr(self._response, "connection", None), "sock", None)
        if sock is not None:
            sock.settimeout(max(seconds, 0.01))

    def __iter__(self) -> Iterator[bytes]:
        pending = b""
        for chunk in self._chunks():
            *complete, pending = (pending + chunk).split(b"\n")
            yield from (line for line in complete if line.strip())

    def _chunks(self) -> Iterator[bytes]:
        """Yield bytes as they come; ends quietly where the stream ends, is cut or stays silent too long."""
        response = self._response
        try:
            if getattr(response, "chunked", False) or not hasattr(response, "read1"):
                yield from response.stream(65536 if getattr(response, "chunked", False) else 1)
            else:
                while chunk := response.read1(65536):
                    yield chunk
        except (HTTPError, OSError):
            return
