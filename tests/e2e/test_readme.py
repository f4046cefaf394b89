# SPDX-License-Identifier: Apache-2.0
"""The README's own check runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.running import Lab

README = Path(__file__).resolve().parents[2] / "README.md"


def snippet() -> str:
    found = re.search(r"<!-- snippet.*?-->\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found, "the README has no snippet"
    return found.group(1)


def test_the_snippet_is_five_lines() -> None:
    assert len(snippet().splitlines()) == 5


def test_the_snippet_passes_where_policies_are_enforced(lab: Lab) -> None:
    mine = lab.directory / "test_readme_mine.py"
    mine.write_text(snippet(), "utf-8")
    record = lab.run("calico", str(mine))
    assert [check["outcome"] for check in record["checks"]] == ["passed"]
    assert record["checks"][0]["matrices"]


def test_the_snippet_fails_where_they_are_not(lab: Lab) -> None:
    mine = lab.directory / "test_readme_mine.py"
    mine.write_text(snippet(), "utf-8")
    record = lab.run("calico", str(mine), faults=["policies-ignored"], expect=1)
    [check] = record["checks"]
    assert check["outcome"] == "failed"
    assert check["mismatches"][0]["because"]
