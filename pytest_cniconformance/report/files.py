# SPDX-License-Identifier: Apache-2.0
"""All reports of a run into one directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.report.atomic import write_text
from pytest_cniconformance.report.redact import PATTERNS_ONLY, Redactor

if TYPE_CHECKING:
    from pathlib import Path

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
