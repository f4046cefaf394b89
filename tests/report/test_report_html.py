# SPDX-License-Identifier: Apache-2.0
"""The HTML report: complete, self-contained, accessible in structure, and closed to injection."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import hostile
import pytest
import sample

from pytest_cniconformance.report import html
from pytest_cniconformance.report.view import EMULATED

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements with attributes and text; fails on tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> does not nest"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(
    params=[sample.calico_run, sample.troubled_run, sample.flannel_run], ids=lambda run: run.__name__
)
def run(request: pytest.FixtureRequest) -> Any:
    return request.param()


def _inline(source: str, tag: str) -> str:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
    return str(text)


def test_the_page_loads_nothing_and_runs_only_its_own_script(run: Any) -> None:
    source = html.render(run)
    page = Page(source)
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(_inline(source, tag).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "style", "srcdoc", "action"} & attributes.keys(), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
    assert not re.search(r"url\(|@import|https?://", _inline(source, "style") + _inline(source, "script"))


def test_the_page_says_what_the_run_found(run: Any) -> None:
    text = " ".join("".join(Page(html.render(run)).text).split())
    assert run.headline.statement in text
    for capability in run.capabilities:
        assert html.name_of(capability.capability) in text
    for check in run.checks:
        assert check.id in text
        assert check.title in text
    for trait in run.traits:
        assert trait.value in text
    for node in run.cluster.nodes:
        assert node.name in text
    assert (EMULATED in text) == run.cluster.emulated


def test_a_failure_shows_its_evidence() -> None:
    text = " ".join("".join(Page(html.render(sample.troubled_run())).text).split())
    assert "isolated by y/allow-x-a (Ingress); no rule admits x/b" in text
    assert "kubectl -n x exec b -- python3 /cniconformance/run_agent.py probe" in text
    assert "namespaceSelector:" in text
    assert "2 unexpected" in text
    assert "open, unexpected" in text
    assert "https://github.com/projectcalico/calico/issues/1" in text


def test_the_structure_serves_keyboard_and_screen_reader(run: Any) -> None:
    source = html.render(run)
    page = Page(source)
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert len(page.all("h1")) == 1
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    for anchor in page.all("a"):
        href = anchor["href"] or ""
        assert href.startswith("https://") or href.removeprefix("#") in ids, href
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in head for head in page.all("th"))
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    assert len(page.all("summary")) == len(page.all("details"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(later - earlier <= 2 for earlier, later in pairwise(levels))
    # The filter needs the script, so it is hidden until the script shows it; nothing else is.
    hidden = [attributes.get("class") for _, attributes in page.elements if "hidden" in attributes]
    assert hidden == ["filter"]


def test_colour_is_never_the_only_carrier() -> None:
    source = html.render(sample.troubled_run())
    cells = re.findall(r'<td class="(?:open|denied|unknown)[^>]*>(.*?)</td>', source)
    assert cells
    for cell in cells:
        assert re.fullmatch(r'<span aria-hidden="true">\S</span><span class="vh">[\w ,]+</span>', cell)


@pytest.mark.parametrize("name", hostile.STRINGS)
def test_hostile_names_add_no_element_and_no_attribute(name: str) -> None:
    shape = [(tag, sorted(attributes)) for tag, attributes in Page(html.render(hostile.record("x"))).elements]
    source = html.render(hostile.record(name))
    page = Page(source)
    source.encode()
    assert [(tag, sorted(attributes)) for tag, attributes in page.elements] == shape
    for anchor in page.all("a"):
        assert (anchor["href"] or "").startswith(("#", "https://", "http://"))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", source)


def test_a_source_that_is_no_web_address_is_text_and_no_link() -> None:
    source = html.render(hostile.record("javascript:alert(5)"))
    assert "javascript:alert(5)" in source
    assert 'href="javascript' not in source


def test_the_page_stays_small(run: Any) -> None:
    source = html.render(run)
    without = re.sub(r'<table class="grid.*?</table>', "", source, flags=re.DOTALL)
    assert len(without) < 200_000
    assert len(source) < 1_000_000
    assert _inline(source, "script").count("\n") <= 150


def test_an_empty_run_renders() -> None:
    base = sample.calico_run()
    empty = type(base).assemble(
        run=base.run,
        cni=type(base.cni)(requested="x"),
        cluster=base.cluster,
        environment=base.environment,
        checks=[],
    )
    assert "no check gave a result" in html.render(empty)


PAIRS = [
    *((ink, ground) for ink in ("ink", "muted", "link") for ground in ("bg", "card", "soft")),
    *((tone, f"{tone}-bg") for tone in ("good", "bad", "unsure", "neutral", "open", "denied")),
    *((tone, "card") for tone in ("good", "bad", "unsure", "neutral")),
    ("unsure", "unsure-bg"),
]


def _palettes() -> list[dict[str, str]]:
    css = _inline(html.render(sample.calico_run()), "style")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    first = dict(re.findall(r"--([\w-]+): (#\w+)", light))
    return [first, first | dict(re.findall(r"--([\w-]+): (#\w+)", dark))]


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(scheme: int) -> None:
    palette = _palettes()[scheme]
    weak = {pair: _contrast(*(palette[name] for name in pair)) for pair in PAIRS}
    assert not {pair: ratio for pair, ratio in weak.items() if ratio < 4.5}
    # Lines, bars and borders that carry meaning: 3 to 1 (WCAG 1.4.11); their words stand beside them.
    for name in ("path", "base", "s0", "s1", "focus"):
        assert _contrast(palette[name], palette["card"]) >= 3, name
