# SPDX-License-Identifier: Apache-2.0
"""Text from a cluster, made safe to show: nothing may move a cursor, reorder a line or break an encoder."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp"}


def scalar(text: str) -> str:
    """Replace surrogates, which no encoder accepts, by U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(text) else text


def visible(text: str) -> str:
    r"""Show control, format and separator characters as escapes (``\x1b``, ``\u202e``); keep newline and tab.

    Format characters include the bidirectional overrides that make a line read differently from what it says.
    """
    text = scalar(text.replace("\r\n", "\n"))
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(map(_show, text))


def one_line(text: str, limit: int = 0) -> str:
    """Return ``text`` on one line, white space folded, cut to ``limit`` characters when that is not 0."""
    line = " ".join(visible(text).split())
    return line[: limit - 1] + "…" if limit and len(line) > limit else line


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _show(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _INVISIBLE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
