# SPDX-License-Identifier: Apache-2.0
"""Markdown, terminal and JUnit views: what they say, and that hostile names change nothing."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import hostile
import markdown_it
import pytest
import sample
from hypothesis import given
from hypothesis import strategies as st

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.report import html, junit, markdown, terminal
from pytest_cniconformance.report.files import write_reports
from pytest_cniconformance.report.text import one_line, visible
from pytest_cniconformance.report.view import EMULATED, duration, microseconds

RUNS = [sample.calico_run, sample.troubled_run, sample.flannel_run]


def _texts(lines: list[terminal.Line]) -> list[str]:
    return [line.text for line in lines]


@pytest.mark.parametrize("run", RUNS)
def test_the_job_summary_fits_one_screen_and_leads_with_the_headline(run: Any) -> None:
    text = markdown.render(run())
    assert text.count("\n") <= 60
    assert run().headline.text.split("(")[0].strip() in text.splitlines()[0].replace("\\", "")
    assert (EMULATED in text) == run().cluster.emulated


def test_the_job_summary_names_rule_and_command() -> None:
    text = markdown.render(sample.troubled_run())
    assert "expected denied (isolated by y/allow-x-a (Ingress); no rule admits x/b), observed open" in text
    assert "reproduce: `kubectl -n x exec b" in text


@pytest.mark.parametrize("name", hostile.STRINGS)
def test_markdown_cannot_be_injected(name: str) -> None:
    def elements(text: str) -> list[str]:
        parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
        return re.findall(r"<(/?\w+)", parser.render(markdown.render(hostile.record(text))))

    assert elements(name) == elements("x"), "hostile text must not add or remove a single element"


@given(st.text(max_size=60))
def test_code_spans_hold_any_text(text: str) -> None:
    rendered = markdown_it.MarkdownIt().render(f"x {markdown.code(text)} y").strip()
    assert rendered.startswith("<p>x <code>")
    assert rendered.endswith("</code> y</p>")
    assert rendered.count("<code>") == 1


@given(st.text(max_size=60))
def test_inline_text_stays_text(text: str) -> None:
    rendered = (
        markdown_it.MarkdownIt("commonmark", {"html": True}).render(f"x {markdown.inline(text)} y").strip()
    )
    assert not re.search(r"<(?!/?p>)", rendered)


def test_the_terminal_shows_capabilities_rule_command_and_ends_with_the_headline() -> None:
    lines = terminal.lines(sample.troubled_run(), {"json": Path("cni-report/report.json")})
    texts = _texts(lines)
    assert texts[0].split() == ["capability", "claim", "status", "checks"]
    assert any(text.startswith("NetworkPolicy  claimed      failed") for text in texts)
    assert "FAILED NP-AND-1 Namespace and pod selector in one peer are ANDed" in texts
    assert any("isolated by y/allow-x-a (Ingress); no rule admits x/b" in text for text in texts)
    assert any(text.strip().startswith("$ kubectl -n x exec b") for text in texts)
    assert "json  cni-report/report.json" in texts
    assert texts[-1] == sample.troubled_run().headline.text
    assert lines[-1].markup == {"red": True, "bold": True}


def test_the_terminal_says_emulated_and_stays_short_when_nothing_is_enforced() -> None:
    texts = _texts(terminal.lines(sample.flannel_run()))
    assert EMULATED in texts
    assert sum(text.startswith("NOT ENFORCED") for text in texts) == 12
    assert len(texts) < 50


@pytest.mark.parametrize("name", hostile.STRINGS)
def test_no_control_character_reaches_the_terminal(name: str) -> None:
    for line in terminal.lines(hostile.record(name)):
        assert not {unicodedata.category(c) for c in line.text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        line.text.encode()


@pytest.mark.parametrize("name", hostile.STRINGS)
def test_junit_facts_are_short_printable_strings(name: str) -> None:
    for check in hostile.record(name).checks:
        for key, value in junit.facts(check, name):
            assert type(key) is type(value) is str
            assert (key + value).isprintable()
            assert len(value) <= 500


def test_junit_facts_name_check_outcome_and_p99() -> None:
    check = next(c for c in sample.calico_run().checks if c.id == "LAT-POD-1")
    found = dict(junit.facts(check, "calico"))
    assert found["cni_check"] == "LAT-POD-1"
    assert found["cni_outcome"] == "passed"
    assert found["cni_p99_pod-to-pod/cross-node"].endswith(" µs")
    assert not any("host-to-host" in key for key in found)


@given(st.text())
def test_visible_text_is_encodable_and_harmless(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not {unicodedata.category(c) for c in shown if c not in "\n\t"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    assert "\n" not in one_line(text)


def test_units_are_the_ones_that_people_use() -> None:
    assert [microseconds(v) for v in (42.13, 999.7, 1500, 2.5e6, None)] == [
        "42.1 µs",
        "1 ms",
        "1.5 ms",
        "2.5 s",
        "∞",
    ]
    assert [duration(v) for v in (0.25, 41.87, 125)] == ["250 ms", "41.9 s", "2 min 05 s"]


def test_all_reports_are_written_whole_and_readable_by_others(tmp_path: Path) -> None:
    paths = write_reports(sample.calico_run(), tmp_path / "new" / "dir")
    assert sorted(path.name for path in (tmp_path / "new" / "dir").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    assert all(path.stat().st_mode & 0o400 for path in paths.values())
    before = {name: path.read_bytes() for name, path in paths.items()}
    assert {
        n: p.read_bytes() for n, p in write_reports(sample.calico_run(), paths["json"].parent).items()
    } == before


def test_the_truth_is_on_disk_even_if_a_view_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: object) -> str:
        raise RuntimeError("no template")

    monkeypatch.setattr(html, "render", broken)
    with pytest.raises(RuntimeError):
        write_reports(sample.calico_run(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*report.json"):
        write_reports(sample.calico_run(), tmp_path / "file")
