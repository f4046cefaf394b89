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
    # Allure has no word for these two: "unknown" keeps them apart from both passed and skipped.
    Outcome.NOT_ENFORCED: "unknown",
    Outcome.INCONCLUSIVE: "unknown",
    Outcome.NOT_SUPPORTED: "skipped",
    Outcome.KNOWN_DEVIATION: "skipped",
    Outcome.SKIPPED: "skipped",
}
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
    description: str
    cni: str
    status: str
    message: str
    known: bool
    flaky: bool
    labels: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]


def facts(check: CheckRecord, cni: str) -> AllureFacts:
    """Return the facts of a check.

    The identity hangs on the check's id (and on pytest's parameters, if any), not on where its file lies:
    ``testCaseId`` is the same on every CNI, ``historyId`` is not, so that two CNIs are no retries of one test.
    """
    check = codec.load(type(check), PATTERNS_ONLY.tree(codec.dump(check)))
    parameters = re.search(r"\[(.*)\]$", check.nodeid)
    full_name = f"cniconformance:{one_line(check.id)}{parameters.group(0) if parameters else ''}"
    feature = check.feature.partition("/")[2] or check.feature
    message = f"{check.outcome}: {check.message}" if check.outcome is not Outcome.PASSED else check.message
    return AllureFacts(
        full_name=full_name,
        test_case_id=_digest(full_name),
        history_id=_digest(full_name, cni),
        name=one_line(f"{check.id} {check.title}"),
        description=visible(check.title),
        cni=one_line(cni),
        status=_STATUS[check.outcome],
        message=visible(message),
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


def write_run_files(directory: Path, record: RunRecord, environ: Mapping[str, str]) -> None:
    """Write ``environment.properties``, ``categories.json`` and ``executor.json`` once per results directory."""
    record = presentable(record)
    write_text(directory / "environment.properties", environment_properties(record))
    write_text(directory / "categories.json", json.dumps(categories(), indent=1))
    write_text(directory / "executor.json", json.dumps(executor(record, environ), indent=1))


def environment_properties(record: RunRecord) -> str:
    """Return the environment in Java's properties format."""
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
    return "".join(f"{key}={_property(value)}\n" for key, value in values.items() if value)


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
            "matchedStatuses": [_STATUS[outcome]],
            "messageRegex": f"(?s)^{outcome}: .*",
        }
        for outcome in shown
    ]


def executor(record: RunRecord, environ: Mapping[str, str]) -> dict[str, str]:
    """Return who ran it; ``environ`` gives the build's address under the common CI systems."""
    url = environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or ""
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        url = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    data = {
        "name": "pytest-cniconformance",
        "type": "pytest",
        "buildName": record.run.id,
        "buildUrl": PATTERNS_ONLY.text(url) if url.startswith(("https://", "http://")) else "",
        "reportName": f"CNI conformance of {record.cni.name}",
    }
    return {key: value for key, value in data.items() if value}


def _attachments(check: CheckRecord) -> tuple[Attachment, ...]:
    wrong = check.outcome is not Outcome.PASSED
    files = [
        Attachment(one_line(matrix.title), "text/plain", "txt", matrix_text(matrix))
        for matrix in check.matrices
        if wrong
    ]
    if check.mismatches:
        text = "\n".join(one_line(mismatch.summary) for mismatch in check.mismatches)
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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _property(value: str) -> str:
    return one_line(value).replace("\\", "\\\\")
