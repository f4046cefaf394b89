# SPDX-License-Identifier: Apache-2.0
"""What Allure should know, as plain values; :mod:`.allure_adapter` hands them to allure-pytest."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.model.requirement import Level, Outcome
from pytest_cniconformance.report import codec
from pytest_cniconformance.report.atomic import write_text
from pytest_cniconformance.report.grid import matrix_text
from pytest_cniconformance.report.redact import PATTERNS_ONLY
from pytest_cniconformance.report.summary import name_of
from pytest_cniconformance.report.text import one_line, visible
from pytest_cniconformance.report.view import EMULATED, OUTCOMES, presentable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_cniconformance.report.check import CheckRecord
    from pytest_cniconformance.report.record import RunRecord

_STATUS = {
    Outcome.PASSED: "passed",
    Outcome.FLAKY: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "broken",
    # Allure has no word for these two. "unknown" would not count: its pass rate is passed of passed, failed and
    # broken, and a CNI that enforces nothing would show 100%. The categories keep them apart from errors.
    Outcome.NOT_ENFORCED: "broken",
    Outcome.INCONCLUSIVE: "broken",
    Outcome.NOT_SUPPORTED: "skipped",
    Outcome.KNOWN_DEVIATION: "skipped",
    Outcome.SKIPPED: "skipped",
}
_REQUIRABLE = (Outcome.NOT_ENFORCED, Outcome.NOT_SUPPORTED)
"""What ``--cni-require`` turns into a failure."""
_AND = " | "
"""Between the values of several runs in one results directory."""
_TRACE_LINES = 20
_SHORT = 60
"""Longer values of pytest's parameters are representations of objects, of no use to people and not stable."""
_SEVERITY = {Level.MUST: "critical", Level.SHOULD: "normal", Level.MAY: "minor", Level.TRAIT: "trivial"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside the result."""

    name: str
    mime: str
    extension: str
    body: str


@dataclass(frozen=True, slots=True)
class AllureFacts:
    """What one result gets: stable identity, status, labels (name, value), links (url, name), attachments."""

    full_name: str
    test_case_id: str
    history_id: str
    name: str
    title_path: tuple[str, ...]
    description: str
    cni: str
    status: str
    message: str
    trace: str
    known: bool
    flaky: bool
    labels: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]


def facts(check: CheckRecord, cni: str, *, required: bool = False) -> AllureFacts:
    """Return the facts of a check; ``required``: its outcome fails the run by ``--cni-require``.

    The identity hangs on the check's id (and on pytest's parameters, if any), not on where its file lies:
    ``testCaseId`` is the same on every CNI, ``historyId`` is not, so that two CNIs are no retries of one test.
    Allure 3 makes a history id of its own, of ``testCaseId`` and the parameters.
    """
    check = codec.load(type(check), PATTERNS_ONLY.tree(codec.dump(check)))
    found = re.search(r"\[(.*)\]$", check.nodeid)
    # A generated case is its own requirement: its parameter says nothing more.
    parameters = found.group(0) if found and found.group(1) != check.id else ""
    full_name = f"cniconformance:{one_line(check.id)}{parameters}"
    feature = check.feature.partition("/")[2] or check.feature
    message = f"{check.outcome}: {check.message}" if check.outcome is not Outcome.PASSED else check.message
    return AllureFacts(
        full_name=full_name,
        test_case_id=_digest(full_name),
        history_id=_digest(full_name, cni),
        name=one_line(f"{check.id} {check.title}"),
        title_path=(one_line(cni), one_line(check.suite), one_line(feature)),
        description=visible(f"{check.title}\n\n{check.level} · {check.feature}"),
        cni=one_line(cni),
        status="failed" if required and check.outcome in _REQUIRABLE else _STATUS[check.outcome],
        message=visible(message),
        trace="\n\n".join(
            part for part in (_mismatches(check, _TRACE_LINES), visible(check.details)) if part
        ),
        known=check.outcome is Outcome.KNOWN_DEVIATION,
        flaky=check.outcome is Outcome.FLAKY,
        labels=(
            ("epic", "CNI conformance"),
            ("feature", one_line(name_of(check.capability))),
            ("story", one_line(feature)),
            ("parentSuite", one_line(cni)),
            ("suite", one_line(check.suite)),
            ("severity", _SEVERITY[check.level]),
            ("tag", one_line(check.id)),
            ("tag", str(check.outcome)),
        ),
        links=((check.source, "requirement"),) if check.source.startswith(("https://", "http://")) else (),
        attachments=_attachments(check),
    )


def short_parameter(value: str) -> bool:
    """Whether a parameter of pytest's is worth showing beside the check's own identity."""
    return len(value) <= _SHORT and " object at 0x" not in value


def write_run_files(directory: Path, record: RunRecord, environ: Mapping[str, str]) -> None:
    """Write ``environment.properties``, ``categories.json`` and ``executor.json``.

    Runs of several CNIs may share one results directory: then the environment names all of them.
    """
    record = presentable(record)
    values = _together(_read_properties(directory / "environment.properties"), environment(record))
    text = "".join(f"{key}={_property(value)}\n" for key, value in values.items())
    write_text(directory / "environment.properties", text)
    write_text(directory / "categories.json", json.dumps(categories(), indent=1))
    about = executor(record, environ, names=_names(values["CNI"]))
    write_text(directory / "executor.json", json.dumps(about, indent=1))


def environment(record: RunRecord) -> dict[str, str]:
    """Return what the results were made with, without what is not known."""
    cluster = record.cluster
    values = {
        "CNI": f"{record.cni.name} {record.cni.version}".strip(),
        "Provider": EMULATED if cluster.emulated else cluster.provider,
        "Kubernetes": cluster.kubernetes,
        "Context": cluster.context,
        "Nodes": str(len(cluster.nodes)),
        "Kernel": ", ".join(sorted({node.kernel for node in cluster.nodes})),
        "Families": ", ".join(cluster.families),
        "Vantage": record.vantage,
        "Python": record.environment.python,
        "pytest": record.environment.pytest,
        "pytest-cniconformance": record.run.product,
    }
    return {key: one_line(value) for key, value in values.items() if value}


def _together(earlier: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return both environments, every value once, in the order in which they came."""
    merged = {}
    for key in [*now, *(key for key in earlier if key not in now)]:
        values = [*earlier.get(key, "").split(_AND), *now.get(key, "").split(_AND)]
        merged[key] = _AND.join(dict.fromkeys(value for value in values if value))
    return merged


def _names(cnis: str) -> str:
    return ", ".join(dict.fromkeys(cni.partition(" ")[0] for cni in cnis.split(_AND)))


def _read_properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines)
    return {key: value.replace("\\\\", "\\") for key, found, value in pairs if found}


def categories() -> list[dict[str, object]]:
    """Return Allure's categories: one per outcome that is neither passed nor skipped by choice."""
    shown = (
        Outcome.FAILED,
        Outcome.NOT_ENFORCED,
        Outcome.ERROR,
        Outcome.INCONCLUSIVE,
        Outcome.KNOWN_DEVIATION,
        Outcome.NOT_SUPPORTED,
    )
    return [
        {
            "name": OUTCOMES[outcome].word.capitalize(),
            "matchedStatuses": list(
                dict.fromkeys([_STATUS[outcome], *(["failed"] if outcome in _REQUIRABLE else [])])
            ),
            "messageRegex": f"(?s)^{outcome}: .*",
        }
        for outcome in shown
    ]


def executor(record: RunRecord, environ: Mapping[str, str], *, names: str = "") -> dict[str, str]:
    """Return who ran it on which CNIs (``names``); ``environ`` gives the build's address under the common CI systems."""
    url = environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or ""
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        url = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    data = {
        "name": "pytest-cniconformance",
        "type": "pytest",
        "buildName": record.run.id,
        "buildUrl": PATTERNS_ONLY.text(url) if url.startswith(("https://", "http://")) else "",
        "reportName": f"CNI conformance of {names or record.cni.name}",
    }
    return {key: value for key, value in data.items() if value}


def _attachments(check: CheckRecord) -> tuple[Attachment, ...]:
    wrong = check.outcome is not Outcome.PASSED
    files = [
        Attachment(one_line(matrix.title), "text/plain", "txt", matrix_text(matrix))
        for matrix in check.matrices
        if wrong
    ]
    if text := _mismatches(check):
        files.append(Attachment("mismatches", "text/plain", "txt", text))
    if wrong:
        files += [
            Attachment(f"manifest {number}", "application/yaml", "yaml", visible(text))
            for number, text in enumerate(check.manifests, 1)
        ]
        if check.reproduce:
            files.append(Attachment("reproduce", "text/plain", "txt", visible("\n".join(check.reproduce))))
    if check.measurements:
        body = json.dumps(codec.dump(check.measurements), indent=1, allow_nan=False)
        files.append(Attachment("measurements", "application/json", "json", body))
    return tuple(files)


def _mismatches(check: CheckRecord, limit: int = 0) -> str:
    lines = [one_line(mismatch.summary) for mismatch in check.mismatches]
    if limit and len(lines) > limit:
        lines[limit:] = [f"… and {len(lines) - limit} more"]
    return "\n".join(lines)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _property(value: str) -> str:
    return one_line(value).replace("\\", "\\\\")
