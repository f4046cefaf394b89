# SPDX-License-Identifier: Apache-2.0
"""Hooks around each check, where it runs: claims, the cluster lock, the outcome and its record."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_cniconformance.model.failure import NotSupported
from pytest_cniconformance.model.requirement import Level, Outcome, Requirement
from pytest_cniconformance.plugin import MARKERS
from pytest_cniconformance.report.evidence import check_record
from pytest_cniconformance.session.outcomes import Judged, fails, judge, status
from pytest_cniconformance.session.recorder import EVIDENCE, PROPERTY, Evidence
from pytest_cniconformance.session.run import RUN
from pytest_cniconformance.session.settings import Settings

GROUPS = tuple(marker.partition(":")[0] for marker in MARKERS[:-1])


def requirement_of(item: pytest.Item) -> Requirement:
    """Return the requirement of a check; a test without one is its own requirement, by its node id."""
    marker = item.get_closest_marker("requirement")
    if marker is not None and marker.args and isinstance(marker.args[0], Requirement):
        return marker.args[0]
    title = item.name.removeprefix("test_").replace("_", " ")
    capability = {"netpol": "networkpolicy"}.get(suite_of(item), suite_of(item))
    return Requirement(item.nodeid, Level.MUST, capability, "", title)


def suite_of(item: pytest.Item) -> str:
    """Return the marker group of a check, ``own`` for a test of the user's without one."""
    return next((group for group in GROUPS if item.get_closest_marker(group)), "own")


def is_check(item: pytest.Item) -> bool:
    """Whether a test belongs in the conformance report: it names a requirement or uses the cluster."""
    names = getattr(item, "fixturenames", ())
    return item.get_closest_marker("requirement") is not None or any(n.startswith("cni_") for n in names)


class CheckHooks:
    """Registered in every process that runs checks."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Hold the cluster while a check runs: alone for a measurement, with others otherwise."""
        item.stash[EVIDENCE] = Evidence()
        with self._cluster(item):
            return (yield)

    @contextlib.contextmanager
    def _cluster(self, item: pytest.Item) -> Iterator[None]:
        if not is_check(item):
            yield
            return
        lock = self._config.stash[RUN].lock
        with lock.exclusive() if item.get_closest_marker("latency") else lock.shared():
            yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Stop a check of a capability that the CNI's profile declares absent, before it costs anything."""
        if item.get_closest_marker("requirement") is None:
            return
        profile = self._config.stash[RUN].profile
        requirement = requirement_of(item)
        reason = profile.absent(requirement.capability)
        if reason:
            raise NotSupported(f"{profile.title} does not claim {requirement.capability}: {reason}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report the outcome that the check's exception means, and attach the record."""
        report = yield
        if not is_check(item) or (call.excinfo is None and report.when != "call"):
            return report
        requirement = requirement_of(item)
        run = self._config.stash[RUN]
        judged = Judged(Outcome.PASSED)
        if call.excinfo is not None:
            judged = judge(call.excinfo.value, requirement, run.profile)
            self._show(report, judged, requirement, item)
        record = check_record(
            requirement,
            nodeid=item.nodeid,
            suite=suite_of(item),
            outcome=judged.outcome,
            message=judged.message,
            duration_s=call.duration,
            worker=run.worker,
            deviation=judged.deviation,
            details=str(report.longrepr) if judged.outcome is Outcome.ERROR else "",
            evidence=item.stash[EVIDENCE].merged(judged.evidence),
        )
        report.user_properties.append((PROPERTY, json.dumps(record.to_json())))
        from pytest_cniconformance.report.junit import facts

        if report.when == "call" or not report.passed:
            item.user_properties.extend(facts(record))
        return report

    def _show(
        self, report: pytest.TestReport, judged: Judged, requirement: Requirement, item: pytest.Item
    ) -> None:
        """Make pytest's own view of the report agree with the outcome."""
        if fails(judged, requirement, self._settings.require):
            report.outcome = "failed"
            if judged.evidence is not None or judged.outcome is not Outcome.ERROR:
                required = (
                    " (required by --cni-require)"
                    if judged.outcome not in (Outcome.FAILED, Outcome.ERROR)
                    else ""
                )
                if judged.evidence is not None or required:
                    report.longrepr = f"{requirement.id}{required}: {judged.message}"
            elif isinstance(report.longrepr, object) and judged.message and not _surprise(judged):
                report.longrepr = f"{requirement.id}: ERROR: {judged.message}"
        elif judged.outcome is not Outcome.SKIPPED:
            report.outcome = "skipped"
            path, line, _ = item.location
            report.longrepr = (path, line or 0, f"{judged.outcome}: {judged.message}")

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show each outcome under its own name in pytest's progress and summary line."""
        text = next(
            (value for name, value in getattr(report, "user_properties", ()) if name == PROPERTY), None
        )
        if text is None or (report.when != "call" and report.passed):
            return None
        return status(Outcome(json.loads(text)["outcome"]), report.failed)


def _surprise(judged: Judged) -> bool:
    """Whether the error is no :class:`ClusterError` but a fault of the check itself: keep its traceback."""
    return judged.message.partition(":")[0].isidentifier() and judged.message.partition(":")[0].endswith(
        "Error"
    )
