# SPDX-License-Identifier: Apache-2.0
"""Hooks of the controller: the cluster's life cycle, progress, the reports at the end."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.report.atomic import check_writable
from pytest_cniconformance.session.assemble import assemble
from pytest_cniconformance.session.cluster import ClusterSession
from pytest_cniconformance.session.progress import Progress
from pytest_cniconformance.session.recorder import Gatherer
from pytest_cniconformance.session.run import RUN
from pytest_cniconformance.session.selection import Selection
from pytest_cniconformance.session.settings import Settings, drawing

if TYPE_CHECKING:
    from pytest_cniconformance.report.record import RunRecord


class ControllerHooks:
    """Registered once per run, in the process that the user started."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._cluster: ClusterSession | None = None
        self._gatherer = Gatherer()
        self._selection = Selection(config)
        self._progress: Progress | None = None
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()
        self._record: RunRecord | None = None
        self._paths: dict[str, Path] = {}
        self._failed = False
        self._troubles: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Acquire the cluster before xdist starts workers and before the header is printed."""
        if self._config.option.collectonly:
            return
        try:
            check_writable(self._settings.report)
            self._cluster = cluster = ClusterSession(self._settings)
            self._config.stash[RUN] = cluster.start()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_report_header(self) -> list[str]:
        """Say which CNI, cluster and run this is, and what preflight warns of."""
        cluster = self._cluster
        if cluster is None or cluster.run is None or cluster.facts is None:
            return [f"cni: {self._settings.cni} (collecting only: no cluster is used)"]
        run, facts = cluster.run, cluster.facts
        emulated = ", emulated dataplane" if run.cluster.emulated else ""
        version = f" {run.version}" if run.version else ""
        where = f"cluster: {run.cluster.provider}{emulated} · Kubernetes {facts.version}"
        lines = [f"cni: {run.cni}{version} · {where} · {len(facts.nodes)} nodes · run {run.id}"]
        if self._settings.lab_faults:
            lines.append(f"cni: injected faults: {', '.join(self._settings.lab_faults)}")
        if self._settings.random:
            lines.append(f"cni: {drawing(self._settings)}")
        lines += [
            f"cni: {f.message} — {f.remedy}" for f in cluster.findings if not f.ok and f.level == "warn"
        ]
        return lines

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn how many checks there are (under xdist the controller learns it from its workers)."""
        self._set_total(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        """Learn how many checks the workers collected."""
        self._set_total(len(ids))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Learn what the user does not want to run."""
        self._selection.left_out(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Learn the same from a worker: under xdist the controller collects nothing."""
        self._selection.take(getattr(node, "workeroutput", None) or {})

    def _set_total(self, count: int) -> None:
        if self._progress is None:
            self._progress = Progress(self._config.pluginmanager.get_plugin("terminalreporter"), count)
        elif count:
            self._progress.total(count)
        self._selection.selected = count or self._selection.selected

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather the record of a finished check."""
        self._failed = self._failed or report.failed
        record = self._gatherer.take(report)
        if record is not None and self._progress is not None:
            self._progress.finished(record["suite"])

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> object:
        """Write the reports once everything else has finished."""
        result = yield
        cluster = self._cluster
        if cluster is not None and cluster.run is not None and (len(self._gatherer) or exitstatus == 2):
            finished = datetime.datetime.now(datetime.UTC)
            self._record = assemble(
                cluster,
                self._config,
                self._gatherer,
                started=self._started,
                finished=finished,
                duration=time.monotonic() - self._clock,
                exit_status=int(session.exitstatus),
                selection=self._selection.text(),
            )
            self._write(self._record, cluster)
            if self._troubles and session.exitstatus == pytest.ExitCode.OK:
                # A pipeline must not take the reports of an earlier run for those of this one.
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result

    def _write(self, record: RunRecord, cluster: ClusterSession) -> None:
        from pytest_cniconformance.report.files import write_reports
        from pytest_cniconformance.report.redact import Redactor

        known = cluster.run.cluster.kubeconfig if cluster.run else None
        redactor = Redactor.for_process(os.environ, [Path(known)] if known else [])
        self._record = redactor.record(record)
        try:
            self._paths = write_reports(self._record, self._settings.report, redactor=redactor)
            if allure_directory := getattr(self._config.option, "allure_report_dir", None):
                from pytest_cniconformance.report.allure import write_run_files

                write_run_files(Path(allure_directory), self._record, os.environ)
        except UsageError as error:
            self._troubles.append(str(error))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the capability table, the failures with their deciding rule, and where the reports are."""
        if self._record is None:
            return
        from pytest_cniconformance.report.terminal import lines

        terminalreporter.section(f"CNI conformance: {self._record.cni.name}")
        for line in lines(self._record, self._paths):
            terminalreporter.write_line(line.text, **line.markup)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Remove what the run created and give the cluster back."""
        cluster, self._cluster = self._cluster, None
        if cluster is None:
            return
        keep = self._settings.keep == "always" or (self._settings.keep == "on-failure" and self._failed)
        run = cluster.run
        self._troubles += cluster.close(keep=keep)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            if keep and run is not None and not run.cluster.disposable:
                reporter.write_line(
                    f"cni: kept the objects of run {run.id}; `cniconformance cleanup --run {run.id}` removes them"
                )
            for trouble in self._troubles:
                reporter.write_line(f"cni: {trouble}", red=True)
