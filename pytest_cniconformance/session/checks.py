# SPDX-License-Identifier: Apache-2.0
"""Hooks around each check, where it runs: claims, the cluster lock, the outcome and its record."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance import options
from pytest_cniconformance.model.failure import NotSupported
from pytest_cniconformance.model.requirement import Level, Outcome, Requirement
from pytest_cniconformance.report.check import CheckRecord
from pytest_cniconformance.report.evidence import check_record
from pytest_cniconformance.report.junit import facts as junit_facts
from pytest_cniconformance.report.redact import Redactor
from pytest_cniconformance.session.outcomes import Judged, fails, judge, status
from pytest_cniconformance.session.recorder import EVIDENCE, PROPERTY, Evidence
from pytest_cniconformance.session.run import RUN
from pytest_cniconformance.session.settings import Settings, again

if TYPE_CHECKING:
    from pytest_cniconformance.report.allure_adapter import AllureAdapter

GROUPS = tuple(group.partition(":")[0] for group in options.GROUPS)
MEASURING = frozenset({"cni_measure", "cni_convergence"})
"""Fixtures whose checks take the cluster for themselves."""

_CAPABILITY = {"netpol": "networkpolicy"}
_SELECTABLE = re.compile(r"[\w:+./\[\]-]+")
_RECORD: pytest.StashKey[CheckRecord] = pytest.StashKey()


def requirement_of(item: pytest.Item) -> Requirement:
    """Return the requirement of a check; a test without one is its own requirement, by its node id."""
    marker = item.get_closest_marker("requirement")
    if marker is not None and marker.args and isinstance(marker.args[0], Requirement):
        return marker.args[0]
    suite = suite_of(item)
    title = item.name.removeprefix("test_").replace("_", " ")
    return Requirement(item.nodeid, Level.MUST, _CAPABILITY.get(suite, suite), "", title)


def suite_of(item: pytest.Item) -> str:
    """Return the marker group of a check, ``own`` for a test of the user's without one."""
    return next((group for group in GROUPS if item.get_closest_marker(group)), "own")


def is_check(item: pytest.Item) -> bool:
    """Whether a test belongs in the conformance report: it names a requirement or uses the cluster."""
    names = getattr(item, "fixturenames", ())
    return item.get_closest_marker("requirement") is not None or any(n.startswith("cni_") for n in names)


def _measures(item: pytest.Item | None) -> bool:
    return bool(MEASURING.intersection(getattr(item, "fixturenames", ())))


class CheckHooks:
    """Registered in every process that runs checks."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._redactor: Redactor | None = None
        self._allure: AllureAdapter | None = None

    def pytest_sessionstart(self) -> None:
        """Learn the secrets of this process, and join Allure if it writes results."""
        run = self._config.stash.get(RUN, None)
        if run is None:
            return
        kubeconfig = run.cluster.kubeconfig
        self._redactor = Redactor.for_process(os.environ, [Path(kubeconfig)] if kubeconfig else [])
        if getattr(self._config.option, "allure_report_dir", None):
            from pytest_cniconformance.report.allure_adapter import AllureAdapter

            self._allure = AllureAdapter()
            self._allure.register()

    def pytest_unconfigure(self) -> None:
        """Leave Allure as it was."""
        if self._allure is not None:
            self._allure.unregister()
            self._allure = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, Any, Any]:
        """Hold the cluster while a check runs: alone for measurements, with others otherwise."""
        item.stash[EVIDENCE] = Evidence()
        if not is_check(item):
            return (yield)
        lock = self._config.stash[RUN].lock
        with lock.exclusive(keep=_measures(nextitem)) if _measures(item) else lock.shared():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Stop a check of a capability that the CNI's profile declares absent, before it costs anything."""
        if item.get_closest_marker("requirement") is None:
            return
        profile = self._config.stash[RUN].profile
        capability = requirement_of(item).capability
        if reason := profile.absent(capability):
            raise NotSupported(f"{profile.title} does not claim {capability}: {reason}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report the outcome that the check's exception means, and attach the record."""
        report = yield
        if not is_check(item):
            return report
        if call.excinfo is not None or report.when == "call":
            self._record(item, call, report)
        if report.when == "teardown" and self._allure is not None and _RECORD in item.stash:
            from pytest_cniconformance.report.allure import facts

            record = item.stash[_RECORD]
            required = fails(Judged(record.outcome), requirement_of(item), self._settings.require)
            self._allure.enrich(facts(record, self._config.stash[RUN].cni, required=required))
        return report

    def _record(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        requirement, run = requirement_of(item), self._config.stash[RUN]
        judged = Judged(Outcome.PASSED)
        if call.excinfo is not None:
            judged = judge(call.excinfo.value, requirement, run.profile, run.version)
        unforeseen = judged.outcome is Outcome.ERROR and not judged.foreseen
        evidence = item.stash[EVIDENCE].merged(judged.evidence)
        if judged.outcome is not Outcome.PASSED:
            evidence["reproduce"] = [self._again(item), *evidence.get("reproduce", [])]
        record = check_record(
            requirement,
            nodeid=item.nodeid,
            suite=suite_of(item),
            outcome=judged.outcome,
            message=judged.message.partition("\n")[0] if judged.evidence else judged.message,
            duration_s=call.duration,
            worker=run.worker,
            deviation=judged.deviation,
            details=str(report.longrepr) if unforeseen else "",
            evidence=evidence,
        )
        assert self._redactor is not None, "checks ran before the session started"
        record = self._redactor.record(record)
        self._show(report, judged, requirement, self._redactor.text(judged.message), item)
        item.stash[_RECORD] = record
        report.user_properties.append((PROPERTY, json.dumps(record.to_json())))
        kept = [pair for pair in item.user_properties if not str(pair[0]).startswith("cni")]
        item.user_properties[:] = [*kept, *junit_facts(record, run.cni)]

    def _again(self, item: pytest.Item) -> str:
        """Return the command that runs this check alone, on the same kind of cluster."""
        settings = self._settings
        words = ["pytest", f"--cni={settings.cni}"]
        if settings.cluster != "current":
            words.append(f"--cni-cluster={settings.cluster}")
        words += [f"--cni-lab-fault={name}" for name in settings.lab_faults]
        if "cni_random" in getattr(item, "fixturenames", ()):
            words += again(settings)
        # A case by its parameter; -k knows no other characters than these.
        name = item.name if _SELECTABLE.fullmatch(item.name) else getattr(item, "originalname", item.name)
        return shlex.join([*words, "-k", name])

    def _show(
        self,
        report: pytest.TestReport,
        judged: Judged,
        requirement: Requirement,
        message: str,
        item: pytest.Item,
    ) -> None:
        """Make pytest's own view of the report agree with the outcome."""
        if judged.outcome in (Outcome.PASSED, Outcome.SKIPPED):
            return
        if fails(judged, requirement, self._settings.require):
            report.outcome = "failed"
            if judged.foreseen:
                required = "" if judged.outcome in (Outcome.FAILED, Outcome.ERROR) else " (--cni-require)"
                report.longrepr = f"{requirement.id} {judged.outcome}{required}: {message}"
        else:
            path, line, _ = item.location
            report.outcome = "skipped"
            first = message.partition("\n")[0]
            report.longrepr = (path, line or 0, f"{judged.outcome}: {first}")

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show each outcome under its own name in pytest's progress and summary line."""
        properties = getattr(report, "user_properties", ())
        text = next((value for name, value in properties if name == PROPERTY), None)
        return status(Outcome(json.loads(text)["outcome"]), report.failed) if text else None
