# SPDX-License-Identifier: Apache-2.0
"""``report.json``: the truth of which every other report is a view."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.report.codec import RecordError
from pytest_cniconformance.report.record import RunRecord
from pytest_cniconformance.report.redact import PATTERNS_ONLY

if TYPE_CHECKING:
    from pathlib import Path


def render(record: RunRecord) -> str:
    """Return the record as JSON text: ASCII only, same record same bytes."""
    data = PATTERNS_ONLY.record(record).to_json()
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def read(path: Path) -> RunRecord:
    """Read a ``report.json`` of any 1.x. Raises RecordError (a UsageError) that names file and field."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return RunRecord.from_json(data)
    except OSError as error:
        raise RecordError(f"cannot read the report {path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path} is no JSON: {error}") from None
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``report.json``."""
    text = (resources.files("pytest_cniconformance.report") / "report.schema.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
