# SPDX-License-Identifier: Apache-2.0
"""Text to objects, and workloads to the pods that stand for them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import yaml

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.policy import manifests
from pytest_cniconformance.policy.builders import Obj, to_yaml
from pytest_cniconformance.policy.inventory import Inventory, take_stock
from pytest_cniconformance.policy.manifests import Document, read_text

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in pairwise("abcdefg")
)
"""A hundred values that count ten million."""


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML: not every build of it has libyaml."""
    if request.param == "python":
        members = dict(manifests._Manifests.__dict__)
        base: Any = yaml.SafeLoader
        made = type("_Manifests", (base,), {k: v for k, v in members.items() if k != "__init__"})

        def start(self: Any, text: str) -> None:
            base.__init__(self, text)
            self.ambiguous = {}

        made.__init__ = start
        monkeypatch.setattr(manifests, "_Manifests", made)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: y", {"a": "y"}),
        ("a: [yes, Off, TRUE]", {"a": [True, False, True]}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 1:20", {"a": "1:20"}),
        ("a: [1_000, 0x1F, 017, 1e3, .5, '8']", {"a": [1000, 31, 15, 1000.0, 0.5, "8"]}),
        ("a: [~, null, ]", {"a": [None, None]}),
        ("1: a\ntrue: b\n2.5: c\nn: d", {"1": "a", "true": "b", "2.5": "c", "n": "d"}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: &x [1]\nb: [*x, *x]\nc: *x", {"a": [1], "b": [[1], [1]], "c": [1]}),
    ],
)
def test_scalars_and_keys_are_read_as_go_reads_them(text: str, value: object) -> None:
    assert [document.value for document in read_text(text, "f").documents] == [value]


@pytest.mark.usefixtures("loader")
def test_documents_know_their_lines() -> None:
    text = "# first\n\nkind: A\n---\n---\n\nkind: B\n...\n---\n[1]\n"
    assert read_text(text, "f").documents == [
        Document({"kind": "A"}, "f:3"),
        Document({"kind": "B"}, "f:7"),
        Document([1], "f:10"),
    ]
    assert read_text('{"a": 1}\n\n{"b":\n2} [3]', "f").documents == [
        Document({"a": 1}, "f:1"),
        Document({"b": 2}, "f:3"),
        Document([3], "f:4"),
    ]


@pytest.mark.usefixtures("loader")
def test_notes_name_each_ambiguous_word_once() -> None:
    assert read_text("a: y\nb: {n: y}\nc: 'y'\n", "f").notes == [
        "f:1 (and 1 more): unquoted y is taken as text, but kubectl reads a boolean: quote it",
        "f:2: unquoted n is taken as text, but kubectl reads a boolean: quote it",
    ]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\nb: 2", "f:2: invalid YAML"),
        ("a: 1\nb: 2\na: 3", "f:3: invalid YAML: key 'a' is given twice in one mapping"),
        ("? [1]\n: 2", "f:1: invalid YAML"),
        ("a: !thing 1", "f:1: invalid YAML: could not determine a constructor"),
        ("a: !!python/name:os.system", "f:1: invalid YAML: could not determine a constructor"),
        ("a: *b", "f:1: invalid YAML: found undefined alias"),
        ("a: 1\nb: &c [*c]", "f:2: invalid YAML: an alias stands within its own anchor"),
        (BOMB, "f:1: invalid YAML: aliases repeat their anchors too often"),
        ("a: 1\nb: \x01", "f:2: invalid YAML"),
        ("[" * 100_000, "nested too deeply|invalid YAML"),
    ],
)
def test_what_is_broken_is_named_by_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_text(text, "f")


def test_a_key_given_twice_in_json_is_an_error() -> None:
    for name in ("f.json", "f"):
        with pytest.raises(UsageError, match="'a' is given twice"):
            read_text('{"a": {"a": 1, "b": 2, "a": 3}}', name)


def stock(*objs: Obj) -> Inventory:
    return take_stock(read_text(to_yaml(*objs), "f").documents)


def pods(*objs: Obj) -> dict[str, dict[str, str]]:
    return {
        f"{o['metadata']['namespace']}/{o['metadata']['name']}": dict(o["metadata"].get("labels") or {})
        for o in stock(*objs).objects
        if o["kind"] == "Pod"
    }


def workload(kind: str, name: str = "w", *, owner: tuple[str, str] | None = None, **spec: Any) -> Obj:
    group = {"ReplicationController": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}.get(kind, "apps/v1")
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c"}]}}
    metadata: Obj = {"name": name, "namespace": "x"}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    body: Obj = {"template": template}
    if kind == "CronJob":
        body = {"jobTemplate": {"spec": body}}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": body | spec}


def pod(name: str, owner: tuple[str, str] | None = None, phase: str = "Running") -> Obj:
    made = workload("Pod", name, owner=owner)
    return made | {"apiVersion": "v1", "status": {"phase": phase}, "spec": {}}


class TestWorkloads:
    @pytest.mark.parametrize(
        "kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "CronJob"]
    )
    def test_each_stands_as_one_pod(self, kind: str) -> None:
        assert pods(workload(kind)) == {"x/w": {"app": "w"}}
        assert "1 workload without pods" in stock(workload(kind)).notes[0]

    def test_a_job_labels_its_pods(self) -> None:
        assert pods(workload("Job")) == {
            "x/w": {"app": "w", "job-name": "w", "batch.kubernetes.io/job-name": "w"}
        }

    def test_not_when_its_pods_are_given(self) -> None:
        deployment, replicas = (
            workload("Deployment"),
            workload("ReplicaSet", "w-5d4", owner=("Deployment", "w")),
        )
        assert set(pods(deployment, replicas)) == {"x/w"}
        mine = pod("w-5d4-abc", ("ReplicaSet", "w-5d4"))
        assert set(pods(deployment, replicas, mine)) == {"x/w-5d4-abc"}
        assert set(pods(deployment, mine)) == {"x/w-5d4-abc"}
        cron, job = workload("CronJob", "c"), workload("Job", "c-289", owner=("CronJob", "c"))
        assert set(pods(cron, job)) == {"x/c"}
        assert set(pods(cron, job, pod("c-289-x", ("Job", "c-289"), "Succeeded"))) == {"x/c-289-x"}

    def test_not_when_it_runs_no_pod(self) -> None:
        finished = workload("Job") | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
        assert pods(workload("Deployment", "d", replicas=0), finished, pod("p")).keys() == {"x/p"}

    def test_names_that_are_taken(self) -> None:
        assert set(pods(pod("w"), workload("Deployment"), workload("StatefulSet"))) == {
            "x/w",
            "x/w.deployment",
            "x/w.statefulset",
        }

    def test_other_groups_use_the_same_kinds(self) -> None:
        volcano = workload("Job") | {"apiVersion": "batch.volcano.sh/v1alpha1"}
        assert set(pods(volcano, pod("p"))) == {"x/p"}


def test_finished_pods_are_counted() -> None:
    assert stock(pod("a"), pod("b", phase="Failed")).notes == ("1 pod finished and left out",)


def test_objects_come_sorted() -> None:
    names = [o["metadata"]["name"] for o in stock(pod("b"), pod("a")).objects]
    assert names == ["a", "b"]
