# SPDX-License-Identifier: Apache-2.0
"""The run record: round trip, determinism, schema, and what it says in its headline."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import jsonschema
import pytest
import sample

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation, Mismatch
from pytest_cniconformance.model.requirement import Level, Outcome, Requirement
from pytest_cniconformance.model.verdict import Observation, Verdict
from pytest_cniconformance.report import json as report_json
from pytest_cniconformance.report.check import CheckRecord, MatrixRecord
from pytest_cniconformance.report.evidence import check_record
from pytest_cniconformance.report.record import CniInfo, RunRecord
from pytest_cniconformance.report.summary import Claim, HeadlineVerdict, Status, status_of

if TYPE_CHECKING:
    from pathlib import Path

RUNS = [sample.calico_run, sample.troubled_run, sample.flannel_run]


@pytest.mark.parametrize("run", RUNS)
def test_a_record_survives_json_and_matches_the_schema(run: Any) -> None:
    record = run()
    text = report_json.render(record)
    assert text.isascii()
    data = json.loads(text)
    jsonschema.Draft202012Validator(report_json.schema(), format_checker=jsonschema.FormatChecker()).validate(
        data
    )
    assert RunRecord.from_json(data) == record
    assert report_json.render(RunRecord.from_json(data)) == text


def _objects(schema: Any, where: str = "root") -> Any:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield where, schema
        for key, value in schema.items():
            yield from _objects(value, f"{where}.{key}")


def test_every_field_of_the_schema_is_described() -> None:
    schema = report_json.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for where, node in _objects(schema):
        assert node.get("description"), where
        for name, field in node["properties"].items():
            described = field.get("description") or "$ref" in field
            assert described, f"{where}.{name}"
            assert (
                field.get("items", {}).get("description")
                or field.get("type") != "array"
                or "$ref" in field["items"]
            )


def _dataclasses(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__name__ not in found:
        found[kind.__name__] = kind
        for hint in get_type_hints(kind).values():
            _dataclasses(hint, found)
    for argument in get_args(kind):
        _dataclasses(argument, found)
    return found


def test_the_schema_names_exactly_the_fields_of_the_record() -> None:
    schemas = [set(node["properties"]) for _, node in _objects(report_json.schema())]
    for name, kind in _dataclasses(RunRecord, {}).items():
        assert {field.name for field in dataclasses.fields(kind)} in schemas, name


def test_the_order_of_the_checks_makes_no_difference() -> None:
    record = sample.troubled_run()
    shuffled = list(record.checks)
    random.Random(1).shuffle(shuffled)
    again = RunRecord.assemble(
        run=record.run,
        cni=record.cni,
        cluster=record.cluster,
        environment=record.environment,
        vantage=record.vantage,
        checks=shuffled,
        convergence=record.convergence,
    )
    assert report_json.render(again) == report_json.render(record)


def test_numbers_in_ids_are_ordered_as_numbers() -> None:
    checks = [_check(f"NP-X-{number}", Outcome.PASSED) for number in (10, 9, 1)]
    assert [c.id for c in _run(checks).checks] == ["NP-X-1", "NP-X-9", "NP-X-10"]


def test_a_check_record_is_builtins_all_the_way_down() -> None:
    def walk(value: Any) -> None:
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    for check in sample.troubled_run().checks:
        walk(check.to_json())
        assert CheckRecord.from_json(check.to_json()) == check


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "2.0"}, r"no cniconformance report .*'2.0'"),
        ({"schema": None}, "no cniconformance report"),
        ({"run": {"id": "x"}}, r"record.run: the field 'started' is missing"),
        ({"checks": 3}, r"record.checks: expected a list, found int"),
        ({"outcomes": {"passed": "many"}}, r"record.outcomes.passed: expected int, found str"),
        ({"headline": {"verdict": "fine", "statement": "", "text": ""}}, r"verdict: 'fine' is not one of"),
    ],
)
def test_a_damaged_report_is_named_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(sample.calico_run().to_json() | change))
    with pytest.raises(UsageError, match=message) as error:
        report_json.read(path)
    assert str(path) in str(error.value)


def test_a_report_that_is_no_json_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the report"):
        report_json.read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="is no JSON"):
        report_json.read(tmp_path / "bad.json")


def test_a_later_minor_version_is_read_and_its_new_fields_ignored() -> None:
    data = sample.calico_run().to_json() | {"schema": "1.7", "novelty": 1}
    assert RunRecord.from_json(data).checks == sample.calico_run().checks


def _check(identifier: str, outcome: Outcome, feature: str = "dns/service", **more: Any) -> CheckRecord:
    return check_record(
        Requirement(identifier, Level.MUST, feature, "https://example.org", "a title"),
        nodeid=f"test_x.py::test_{identifier}",
        suite="dns",
        outcome=outcome,
        **more,
    )


def _run(
    checks: list[CheckRecord], *, exit_status: int = 0, selection: str = "", **claims: Claim
) -> RunRecord:
    base = sample.calico_run()
    return RunRecord.assemble(
        run=dataclasses.replace(base.run, exit=exit_status, selection=selection),
        cni=CniInfo(requested="x", claims=claims),
        cluster=base.cluster,
        environment=base.environment,
        checks=checks,
    )


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([], Status.NO_RESULT),
        (["skipped"], Status.NO_RESULT),
        (["passed", "passed", "skipped"], Status.SUPPORTED),
        (["passed", "flaky"], Status.PARTIAL),
        (["passed", "known-deviation"], Status.PARTIAL),
        (["passed", "not-supported"], Status.PARTIAL),
        (["not-supported"], Status.NOT_SUPPORTED),
        (["passed", "error"], Status.INCONCLUSIVE),
        (["passed", "inconclusive"], Status.INCONCLUSIVE),
        (["passed", "not-enforced", "error"], Status.NOT_ENFORCED),
        (["passed", "not-enforced", "failed"], Status.FAILED),
    ],
)
def test_supported_means_that_every_check_passed(outcomes: list[str], status: Status) -> None:
    assert status_of(map(Outcome, outcomes)) is status


def test_headlines_of_the_samples() -> None:
    calico, troubled, flannel = (run().headline for run in RUNS)
    assert calico.text == "calico: conformant with what it claims: 42 passed, 3 not supported"
    assert calico.verdict is HeadlineVerdict.CONFORMANT
    assert flannel.statement.startswith(
        "flannel: NetworkPolicy is accepted but NOT ENFORCED (proved by NP-AND-1, "
    )
    assert flannel.verdict is HeadlineVerdict.NOT_ENFORCED
    assert troubled.verdict is HeadlineVerdict.NOT_CONFORMANT
    assert "1 requirement broken (NP-AND-1)" in troubled.text
    assert "INCOMPLETE: no verdict from DNS-EXT-1, LAT-SVC-1" in troubled.text


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.INCONCLUSIVE])
def test_what_gave_no_verdict_is_never_conformant(outcome: Outcome) -> None:
    headline = _run([_check("A-1", Outcome.PASSED), _check("A-2", outcome)]).headline
    assert headline.verdict is HeadlineVerdict.INCOMPLETE
    assert "INCOMPLETE: no verdict from A-2" in headline.text


@pytest.mark.parametrize("outcome", [None, Outcome.SKIPPED, Outcome.NOT_SUPPORTED])
def test_a_run_in_which_nothing_passed_is_incomplete(outcome: Outcome | None) -> None:
    headline = _run([_check("A-1", outcome)] if outcome else []).headline
    assert headline.verdict is HeadlineVerdict.INCOMPLETE
    assert "INCOMPLETE" in headline.text


def test_an_interrupted_run_is_incomplete() -> None:
    headline = _run([_check("A-1", Outcome.PASSED)], exit_status=2).headline
    assert headline.verdict is HeadlineVerdict.INCOMPLETE
    assert "did not reach its end" in headline.text


def test_a_selection_says_what_it_left_out() -> None:
    headline = _run([_check("A-1", Outcome.PASSED)], dns=Claim.CLAIMED, services=Claim.CLAIMED).headline
    assert headline.verdict is HeadlineVerdict.CONFORMANT_IN_PART
    assert headline.text == "x: conformant in what was tested: 1 passed (not tested: Services)"


def test_a_selection_never_reads_as_conformance_with_everything() -> None:
    left_out = "586 of 587 checks were not selected"
    headline = _run([_check("A-1", Outcome.PASSED)], selection=left_out).headline
    assert headline.verdict is HeadlineVerdict.CONFORMANT_IN_PART
    assert headline.text == f"x: conformant in what was tested: 1 passed ({left_out})"


def test_one_ignored_feature_is_named_and_the_rest_is_not_blamed() -> None:
    checks = [
        _check(f"N-{n}", Outcome.PASSED, f"networkpolicy/{f}") for n, f in enumerate(("peers", "ports"))
    ]
    headline = _run([*checks, _check("N-9", Outcome.NOT_ENFORCED, "networkpolicy/endport")]).headline
    assert "NetworkPolicy (endport) is accepted but NOT ENFORCED (proved by N-9)" in headline.text


def test_evidence_is_taken_as_values_or_as_builtins() -> None:
    cell = Cell("x/a", "y/b", 80)
    mismatch = Mismatch(cell, Expectation(Decision.DENY, ("y/deny",)), Observation(Verdict.OPEN, attempts=1))
    as_builtins = {
        "cell": list(cell),
        "expected": "denied",
        "because": "y/deny",
        "observed": {"verdict": "open", "attempts": 1},
    }
    values = _check("A-1", Outcome.FAILED, evidence={"mismatches": [mismatch]}).mismatches[0]
    builtins = _check("A-1", Outcome.FAILED, evidence={"mismatches": [as_builtins]}).mismatches[0]
    assert builtins.summary == "x/a → y/b:80/TCP expected denied (y/deny), observed open"
    assert dataclasses.replace(builtins, summary=values.summary) == values
    assert "expected denied (y/deny), observed open after 1 attempt" in values.summary


def test_no_evidence_is_lost_for_an_unknown_key() -> None:
    check = _check(
        "A-1",
        Outcome.FAILED,
        evidence={"matrix": "80/TCP\n. X", "captures": 3, "manifests": {"kind": "Pod"}, "reproduce": "true"},
    )
    assert check.manifests == ("kind: Pod\n",)
    assert check.reproduce == ("true",)
    assert "80/TCP\n. X" in check.details
    assert "captures: 3" in check.details


def test_a_matrix_keeps_cells_reasons_and_holes() -> None:
    open_, drop = Observation(Verdict.OPEN), Observation(Verdict.DROPPED)
    expected = {
        Cell("a", "b", 80): Expectation(Decision.DENY, ("ns/deny",)),
        Cell("b", "a", 80): Expectation(Decision.ALLOW),
        Cell("b", "c", 80): Expectation(Decision.UNSPECIFIED),
    }
    observed = {Cell("a", "b", 80): drop, Cell("b", "a", 80): open_}
    matrix = MatrixRecord.of("m", expected, observed)
    (plane,) = matrix.planes
    assert matrix.destinations == ("b", "a", "c")
    assert plane.expected == ("X  ", " .~")
    assert plane.observed == ("X  ", " .?")
    assert matrix.reasons == ("ns/deny",)
    assert plane.because == ((0, -1, -1), (-1, -1, -1))
