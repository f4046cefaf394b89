# SPDX-License-Identifier: Apache-2.0
"""The one module that touches allure-pytest. Import it only when Allure writes results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import allure_commons
from allure_commons.model2 import Label, Link, Parameter, StatusDetails

from pytest_cniconformance.report.allure import short_parameter

if TYPE_CHECKING:
    from pytest_cniconformance.report.allure import AllureFacts

_OWNED_LABELS = {"epic", "feature", "story", "parentSuite", "suite", "subSuite", "severity"}


class AllureAdapter:
    """Gives results their stable identity on their way to the file.

    allure-pytest derives ``historyId`` from the module path, so the same check run by path or as a bundled
    suite would be two, and the same check on two CNIs would be one.
    """

    def __init__(self) -> None:
        self._facts: AllureFacts | None = None

    def register(self) -> None:
        """Join the Allure of this process; each xdist worker writes its own results."""
        allure_commons.plugin_manager.register(self, "cniconformance")

    def unregister(self) -> None:
        """Leave Allure as it was."""
        allure_commons.plugin_manager.unregister(self, "cniconformance")

    def enrich(self, facts: AllureFacts) -> None:
        """Attach evidence to the running test and keep the rest until its result is written.

        Call it from ``pytest_runtest_makereport`` of the teardown phase: the test is still open then.
        """
        self._facts = facts
        for attachment in facts.attachments:
            allure_commons.plugin_manager.hook.attach_data(
                body=attachment.body,
                name=attachment.name,
                attachment_type=attachment.mime,
                extension=attachment.extension,
            )

    @allure_commons.hookimpl(tryfirst=True)
    def report_result(self, result: Any) -> None:
        """Amend the result that is about to be written; results of other tests pass untouched."""
        facts, self._facts = self._facts, None
        if facts is None:
            return
        result.name, result.fullName = facts.name, facts.full_name
        result.testCaseId, result.historyId = facts.test_case_id, facts.history_id
        result.description = facts.description
        result.status = facts.status
        details = result.statusDetails or StatusDetails()
        details.message = facts.message or details.message
        # allure-pytest's is the traceback of the check, unredacted; what a verdict rests on says more.
        details.trace = facts.trace or None
        details.known, details.flaky = facts.known or None, facts.flaky or None
        result.statusDetails = details if details.message or facts.known or facts.flaky else None
        result.parameters = [
            p for p in result.parameters if p.name != "cni" and short_parameter(str(p.value))
        ]
        result.parameters.append(Parameter(name="cni", value=facts.cni))
        if hasattr(result, "titlePath"):  # allure-pytest 2.15; the tree of Allure 3
            result.titlePath = list(facts.title_path)
        result.labels = [label for label in result.labels if label.name not in _OWNED_LABELS]
        result.labels += [Label(name=name, value=value) for name, value in facts.labels]
        result.links += [Link(type="link", url=url, name=name) for url, name in facts.links]
