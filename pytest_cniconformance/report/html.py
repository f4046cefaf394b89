# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained file that loads nothing and runs only the script it carries."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_cniconformance.report import svg, view
from pytest_cniconformance.report.grid import LEGEND, grids
from pytest_cniconformance.report.summary import name_of

if TYPE_CHECKING:
    from pytest_cniconformance.report.record import RunRecord

_PACKAGE = "pytest_cniconformance.report"


def render(record: RunRecord) -> str:
    """Return the page.

    The Content-Security-Policy admits the page's own style and script by their hashes and nothing else: even
    markup that got past the escaping could neither run nor phone home.
    """
    record = view.presentable(record)
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            # Assets are ours and their hash is in the policy, so they go in as they are.
            style=Markup(style),
            script=Markup(script),
            policy=policy,
            look=view.VERDICTS[record.headline.verdict],
            attention=view.attention(record),
            suites=list(dict.fromkeys(check.suite for check in record.checks)),
            legend=LEGEND,
            emulated=view.EMULATED,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    helpers: dict[str, Any] = {
        "outcomes": view.OUTCOMES,
        "statuses": view.STATUSES,
        "tally": view.tally,
        "tally_text": view.tally_text,
        "duration": view.duration,
        "us": view.microseconds,
        "quantile": view.quantile,
        "interval": view.interval,
        "spread_of": view.spread_of,
        "ms": view.milliseconds,
        "slo_looks": view.SLOS,
        "slo_found": view.slo_found,
        "name_of": name_of,
        "grids": grids,
        "outcome_bar": svg.outcome_bar,
        "percentile_chart": svg.percentile_chart,
        "ecdf_chart": svg.ecdf_chart,
    }
    environment.globals.update(helpers)
    environment.tests["web"] = lambda text: str(text).startswith(("https://", "http://"))
    return environment


def _asset(name: str) -> str:
    return (resources.files(_PACKAGE) / "templates" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
