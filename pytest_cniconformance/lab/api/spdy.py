# SPDX-License-Identifier: Apache-2.0
"""The part of SPDY/3.1 that remote commands use: streams, data, pings; no priorities, no flow control.

kubectl before 1.31 runs ``exec`` only over SPDY. Flow control is left out because its implementation has none.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 2, 3, 4, 6, 7
FIN = 0x01

_HEADER_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status"
)
_MORE_NAMES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = (word.encode() for word in (*_HEADER_NAMES.split(), *_MORE_NAMES))
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()
"""The compression dictionary of the SPDY/3 draft, section 2.6.10.1."""


class Frame(NamedTuple):
    """One frame. ``kind`` is 0 for data; ``stream`` is 0 where the frame is for the whole session."""

    kind: int
    stream: int
    flags: int
    headers: dict[str, str]
    data: bytes


class Codec:
    """Reads frames from bytes and writes frames; one for each connection, as header compression has state."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes."""
        self._pending += data
        while len(self._pending) >= 8:
            first, second = struct.unpack_from(">II", self._pending)
            length = second & 0xFFFFFF
            if len(self._pending) < 8 + length:
                return
            payload = bytes(self._pending[8 : 8 + length])
            del self._pending[: 8 + length]
            flags = second >> 24
            if not first & 0x80000000:
                yield Frame(0, first, flags, {}, payload)
            else:
                yield self._control(first & 0xFFFF, flags, payload)

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame:
        if kind == SYN_STREAM:
            (stream,) = struct.unpack_from(">I", payload)
            return Frame(kind, stream & 0x7FFFFFFF, flags, self._headers(payload[10:]), b"")
        if kind == RST_STREAM:
            (stream,) = struct.unpack_from(">I", payload)
            return Frame(kind, stream & 0x7FFFFFFF, flags, {}, payload)
        return Frame(kind, 0, flags, {}, payload)

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        (count,) = struct.unpack_from(">I", plain)
        at, texts = 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            texts.append(plain[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def reply(self, stream: int) -> bytes:
        """Return the frame that accepts a stream."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control_frame(SYN_REPLY, 0, struct.pack(">I", stream) + block)

    @staticmethod
    def data(stream: int, data: bytes, *, last: bool = False) -> bytes:
        """Return a data frame; ``last`` ends this side of the stream."""
        return struct.pack(">II", stream, (FIN if last else 0) << 24 | len(data)) + data

    @staticmethod
    def pong(payload: bytes) -> bytes:
        """Return the answer to a ping."""
        return _control_frame(PING, 0, payload)


def _control_frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload
