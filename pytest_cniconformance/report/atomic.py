# SPDX-License-Identifier: Apache-2.0
"""Writing a file so that nobody sees half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from pytest_cniconformance.model.failure import UsageError


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


def check_writable(directory: Path) -> None:
    """Create the directory and raise UsageError now if files cannot be written to it later."""
    write_text(directory / ".writable", "").unlink()


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
