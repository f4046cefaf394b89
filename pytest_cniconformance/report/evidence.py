# SPDX-License-Identifier: Apache-2.0
"""From what a check raises or collects to its record: the one place that knows the keys of ``evidence``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from pytest_cniconformance.model.convergence import Convergence
from pytest_cniconformance.model.matrix import Cell, Decision, Mismatch
from pytest_cniconformance.model.measurement import Measurement
from pytest_cniconformance.model.verdict import Observation
from pytest_cniconformance.report import codec
from pytest_cniconformance.report.check import CheckRecord, Deviation, MatrixRecord, MismatchRecord, Trait

if TYPE_CHECKING:
    from pytest_cniconformance.model.requirement import Outcome, Requirement


def check_record(
    requirement: Requirement,
    *,
    nodeid: str,
    suite: str,
    outcome: Outcome,
    message: str = "",
    duration_s: float = 0.0,
    attempts: int = 1,
    worker: str = "",
    deviation: Deviation | None = None,
    details: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> CheckRecord:
    """Build the record of one check from its requirement, its outcome and its evidence.

    ``evidence`` may hold ``mismatches``, ``matrices`` (or one ``matrix``), ``measurements``, ``convergence``,
    ``traits``, ``manifests``, ``reproduce`` and ``notes``; each item is a value of the model, a record, or the
    builtins of a record. Manifests are YAML text or Kubernetes objects. A matrix that is plain text, and notes,
    are kept in ``details``. Unknown keys are kept as text in ``details``: evidence is never lost for a misspelt
    key.
    """
    data = dict(evidence or {})
    matrices = [*_listed(data.pop("matrices", ())), *_listed(data.pop("matrix", ()))]
    texts = [item for item in matrices if isinstance(item, str)]
    texts += [str(item) for item in _listed(data.pop("notes", ()))]
    known: dict[str, tuple[Any, ...]] = {
        "mismatches": tuple(_mismatch(item) for item in _listed(data.pop("mismatches", ()))),
        "matrices": tuple(_record(MatrixRecord, item) for item in matrices if not isinstance(item, str)),
        "measurements": tuple(_record(Measurement, item) for item in _listed(data.pop("measurements", ()))),
        "convergence": tuple(_record(Convergence, item) for item in _listed(data.pop("convergence", ()))),
        "traits": tuple(_trait(item, requirement.id) for item in _listed(data.pop("traits", ()))),
        "manifests": tuple(_manifest(item) for item in _listed(data.pop("manifests", ()))),
        "reproduce": tuple(str(item) for item in _listed(data.pop("reproduce", ()))),
    }
    left = [f"{key}: {value}" for key, value in data.items()]
    return CheckRecord(
        id=requirement.id,
        nodeid=nodeid,
        title=requirement.title or requirement.id,
        suite=suite,
        level=requirement.level,
        feature=requirement.feature,
        source=requirement.source,
        outcome=outcome,
        message=message,
        duration_s=round(duration_s, 6),
        attempts=attempts,
        worker=worker,
        deviation=deviation,
        details="\n\n".join(part for part in (*texts, *left, details) if part),
        **known,
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable) or hasattr(value, "_fields"):
        return [value]
    return list(value)


def _record(kind: type[Any], item: Any) -> Any:
    return item if isinstance(item, kind) else codec.load(kind, item, kind.__name__)


def _trait(item: Any, check: str) -> Trait:
    trait: Trait = _record(Trait, item)
    return trait if trait.check else Trait(name=trait.name, value=trait.value, note=trait.note, check=check)


def _manifest(item: Any) -> str:
    return item if isinstance(item, str) else yaml.safe_dump(codec.dump(item), sort_keys=False)


def _mismatch(item: Any) -> MismatchRecord:
    if isinstance(item, MismatchRecord):
        return item
    if isinstance(item, Mismatch):
        return MismatchRecord.of(item)
    data = dict(item)
    cell = data.pop("cell", None)
    if isinstance(cell, Cell):
        data |= cell._asdict()
    elif isinstance(cell, Mapping):
        data |= cell
    elif isinstance(cell, (list, tuple)):
        data |= dict(zip(Cell._fields, cell, strict=False))
    observed = data.get("observed")
    if isinstance(observed, Observation):
        data["observed"] = observed.to_json()
    elif isinstance(observed, str):
        data["observed"] = {"verdict": observed}
    if isinstance(data.get("because"), str):
        data["because"] = [data["because"]]
    data["expected"] = {"open": "allow", "denied": "deny"}.get(
        str(data.get("expected")), data.get("expected")
    )
    data.setdefault("expected", Decision.UNSPECIFIED)
    mismatch = codec.load(MismatchRecord, codec.dump(data), "mismatch")
    return mismatch if mismatch.summary else replace(mismatch, summary=_sentence(mismatch))


def _sentence(mismatch: MismatchRecord) -> str:
    wanted = {Decision.ALLOW: "open", Decision.DENY: "denied"}.get(mismatch.expected, "unspecified")
    because = f" ({'; '.join(mismatch.because)})" if mismatch.because else ""
    where = f"{mismatch.source} → {mismatch.destination}:{mismatch.port}/{mismatch.protocol}"
    return f"{where} expected {wanted}{because}, observed {mismatch.verdict}"
