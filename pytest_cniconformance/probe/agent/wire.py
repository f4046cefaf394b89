# SPDX-License-Identifier: Apache-2.0
"""What travels between a prober and a server: nonces, answers, payloads that show damage."""

from __future__ import annotations

import itertools
import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_nonces = itertools.count(1)
_nonce_base = os.urandom(6).hex()


def fresh_nonce() -> str:
    """Return a text that no other request carries."""
    return f"{_nonce_base}{next(_nonces):x}"


def answer(nonce: Any, identity: str, port: int, peer: str, size: int = 0, digest: str = "") -> bytes:
    """Return the line by which a server names itself and the port it was asked on."""
    reply = {"n": nonce, "i": identity, "o": port, "p": peer, "b": size}
    if digest:
        reply["h"] = digest
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"


def sha256(data: bytes) -> str:
    """Return the hash in hex."""
    import hashlib  # pulls in OpenSSL: not at start-up

    return hashlib.sha256(data).hexdigest()


def pattern(size: int) -> bytes:
    """Return bytes in which a lost, doubled or moved part shows."""
    block = b"".join(struct.pack("!I", number) for number in range(min(size, 4096) // 4 + 1))
    return (block * (size // len(block) + 1))[:size]
