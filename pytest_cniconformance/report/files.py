# SPDX-License-Identifier: Apache-2.0
"""All reports of a run into one directory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.report.redact import PATTERNS_ONLY, Redactor

if TYPE_CHECKING:
    from pytest_cniconformance.report.record import RunRecord


def write_reports(
    record: RunRecord, directory: Path, *, redactor: Redactor = PATTERNS_ONLY
) -> dict[str, Path]:
    """Write ``report.json``, ``report.html`` and ``report.md``; return their paths by format.

    The JSON comes first: if a view cannot be rendered, the truth is on disk. ``redactor`` knows the secrets
    of this process. Raises UsageError when the directory cannot be written.
    """
    # Imported here: terminal summaries do not pay for Jinja2.
    from pytest_cniconformance.report import html, json, markdown

    record = redactor.record(record)
    paths = {}
    for name, render in (("json", json.render), ("html", html.render), ("md", markdown.render)):
        paths[name] = write_text(directory / f"report.{name}", render(record))
    return paths


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all; readers never see half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --cni-report=DIR") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        # mkstemp makes private files; reports are read by other users and by web servers.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return path


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
