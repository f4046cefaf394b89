# SPDX-License-Identifier: Apache-2.0
"""What is drawn at random: all of NetworkPolicy v1, always valid, the same for the same seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_cniconformance.policy import invalid
from pytest_cniconformance.policy.objects import NAME_LABEL
from pytest_cniconformance.policy.randomcases.anchors import OUTSIDE_PORT, renamed
from pytest_cniconformance.policy.randomcases.case import EXTRAS, Case, deviations, requests_between
from pytest_cniconformance.policy.randomcases.draw import visit_cases
from pytest_cniconformance.policy.randomcases.pool import POOL
from tests.policy.simulation import ADDRESSES, FAULTS, mismatches


def draw(seed: int | str, count: int) -> list[Case]:
    found: list[Case] = []
    visit_cases(seed, count, lambda case: found.append(case) or True)
    return found


@pytest.fixture(scope="module")
def drawn() -> list[Case]:
    return draw("features", 300)


def test_cases_differ_and_can_be_written_down(drawn: list[Case]) -> None:
    assert len({case.key for case in drawn}) == 300
    assert [Case.parse(case.key) for case in drawn] == drawn
    with pytest.raises(ValueError, match="no case"):
        Case.parse('{"stages": [{}]}')


def test_the_api_accepts_every_policy(drawn: list[Case]) -> None:
    for case in drawn:
        for stage in case.stages:
            for policy in stage.policies:
                assert invalid(ADDRESSES.resolve(policy)) == []


def nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for child in value.values():
            yield from nodes(child)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nodes(item)


def features(case: Case) -> Iterator[str]:
    yield f"{len(case.stages)} stages"
    yield f"{len(case.pods)} pods"
    yield f"{case.policies} policies"
    yield from (flag for flag in EXTRAS if getattr(case, flag) != EXTRAS[flag])
    if len(case.stages) == 2:
        before, after = ({p["metadata"]["name"]: p for p in stage.policies} for stage in case.stages)
        yield from (
            f"update {what}" for what in ("kept" if before[n] == after.get(n) else "made" for n in before)
        )
        yield from ("update removes" for name in before if name not in after)
        yield from ("update adds" for name in after if name not in before)
        yield f"update relabels {case.stages[0].pods != case.stages[1].pods}"
    yield from deviations(case)
    for stage in case.stages:
        if len({policy["metadata"]["namespace"] for policy in stage.policies}) > 1:
            yield "policies in several namespaces"
        for labels in (*stage.pods.values(), *stage.namespaces.values()):
            yield f"{len(labels)} labels"
        for policy in stage.policies:
            spec = policy["spec"]
            yield f"types {spec.get('policyTypes')}"
            for section, side in (("ingress", "from"), ("egress", "to")):
                rules = spec.get(section)
                yield f"{section} {'absent' if rules is None else min(len(rules), 2)}"
                for rule in rules or ():
                    for part in (side, "ports"):
                        items = rule.get(part)
                        yield f"{part} {'absent' if items is None else min(len(items), 2)}"
            for node in nodes(spec):
                if "operator" in node:
                    yield node["operator"]
                    yield f"{len(node.get('values', ()))} values"
                if NAME_LABEL in str(node.get("key")) or NAME_LABEL in node:
                    yield "namespace by name"
                for kind in ("matchLabels", "matchExpressions"):
                    if node.get(kind):
                        yield kind
                if node.get("port") == OUTSIDE_PORT:
                    yield "port of the address outside"
                if str(node.get("cidr")).endswith("#1"):
                    yield "beside"
                if "ipBlock" in node:
                    yield f"{len(node['ipBlock'].get('except', ()))} exceptions"
                elif peer := {"podSelector", "namespaceSelector"} & node.keys() - {
                    "podSelector" if node is spec else ""
                }:
                    yield f"peer {sorted(peer)}"
                if node is not spec and ({"port", "protocol"} & node.keys()):
                    yield f"protocol {node.get('protocol')}"
                    yield f"port {type(node.get('port')).__name__}{'-end' if 'endPort' in node else ''}"


ALL = {
    *("1 stages", "2 stages", *EXTRAS, "beside", "port of the address outside"),
    *("update kept", "update made", "update removes", "update adds", "update relabels True"),
    *("policies in several namespaces", "NP-DEF-2", "NP-PRT-5"),
    *(f"{n} policies" for n in range(1, 5)),
    *(f"{n} pods" for n in range(3, len(POOL) + 1)),
    *(f"{n} labels" for n in range(3)),
    *(f"types {types}" for types in (None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])),
    *(f"{part} {n}" for part in ("ingress", "egress", "from", "to", "ports") for n in ("absent", 0, 1, 2)),
    *("In", "NotIn", "Exists", "DoesNotExist", "0 values", "1 values", "2 values", "namespace by name"),
    *("matchLabels", "matchExpressions", "0 exceptions", "1 exceptions", "2 exceptions"),
    *("peer ['podSelector']", "peer ['namespaceSelector']", "peer ['namespaceSelector', 'podSelector']"),
    *(f"protocol {protocol}" for protocol in ("TCP", "UDP", "SCTP", None)),
    *("port int", "port int-end", "port str", "port NoneType"),
}


def test_everything_is_drawn(drawn: list[Case]) -> None:
    found = Counter(feature for case in drawn for feature in features(case))
    assert set(found) >= ALL, sorted(ALL - set(found))


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_drawn_meets_the_faults(name: str, drawn: list[Case]) -> None:
    assert any(mismatches(case, FAULTS[name]) for case in drawn), "none of 300 draws shows it"


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
{imports}
from tests.policy.test_random_cases import digest
print(digest())
"""


def digest() -> str:
    return hashlib.sha256("".join(case.key for case in draw(7, 60)).encode()).hexdigest()


def test_one_seed_draws_the_same_in_every_process(tmp_path: Path) -> None:
    # Hypothesis takes literals of local modules for likely inputs; ours must not depend on who is loaded.
    (tmp_path / "local_module.py").write_text("NUMBERS = [0, 1, 2, 3, 4, 5, 6, 7]\n", "utf-8")
    root = Path(__file__).resolve().parents[2]
    found = set()
    for imports in ("", "import local_module"):
        program = PROGRAM.format(folder=str(tmp_path), imports=imports)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    assert found == {digest()}


def test_other_seeds_draw_other_cases() -> None:
    assert [case.key for case in draw(1, 5)] != [case.key for case in draw(2, 5)]


def test_only_what_is_wanted_counts() -> None:
    found: list[Case] = []
    visit_cases(3, 20, lambda case: found.append(case) or True, wanted=lambda case: not deviations(case))
    assert len(found) == 20 and not any(map(deviations, found))


def test_a_visit_may_end_it_and_may_fail() -> None:
    found: list[Case] = []
    visit_cases(3, 20, lambda case: found.append(case) or len(found) < 4)
    assert len(found) == 4

    def fail(case: Case) -> bool:
        raise OSError("the cluster is gone")

    with pytest.raises(OSError, match="the cluster is gone"):
        visit_cases(3, 20, fail)


def test_namespaces_are_renamed_where_their_automatic_label_is_meant() -> None:
    spec = {
        "matchLabels": {NAME_LABEL: "x", "app": "x"},
        "matchExpressions": [
            {"key": NAME_LABEL, "operator": "In", "values": ["x", "q"]},
            {"key": "app", "operator": "In", "values": ["x"]},
        ],
    }
    assert renamed(spec, {"x": "real"}) == {
        "matchLabels": {NAME_LABEL: "real", "app": "x"},
        "matchExpressions": [
            {"key": NAME_LABEL, "operator": "In", "values": ["real", "q"]},
            {"key": "app", "operator": "In", "values": ["x"]},
        ],
    }


def test_a_watched_update_is_one_request(drawn: list[Case]) -> None:
    watched = [case for case in drawn if case.watched]
    counts = [requests_between(*case.stages) for case in watched]
    # A part that is drawn anew may come out as it was.
    assert len(watched) > 10 and set(counts) <= {0, 1} and sum(counts) > len(counts) / 2


def test_what_has_to_be_refused_is_invalid(drawn: list[Case]) -> None:
    refused = [ADDRESSES.resolve(case.refused) for case in drawn if case.refused]
    assert len(refused) > 3 and all(map(invalid, refused))


def test_the_pod_that_is_replaced_takes_part(drawn: list[Case]) -> None:
    replaced = [case for case in drawn if case.replaced]
    assert replaced and all(case.replaced in case.pods for case in replaced)
    assert all(case.replaced for case in drawn if case.inherited is not None)
    assert not any(case.hurried and len(case.stages) < 2 for case in drawn)
