# SPDX-License-Identifier: Apache-2.0
"""``cniconformance evaluate`` and its input: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pytest_cniconformance.policy.builders import Obj, network_policy, peer, port, rule, to_yaml
from tests.cli.conftest import Evaluate, pod

PODS = [pod("x/a"), pod("y/b")]
DENY = network_policy("deny", "y")


def denied(verdicts: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(v["from"], v["to"]) for v in verdicts if v["verdict"] == "deny"}


FORMS = {
    "yaml": to_yaml(DENY, *PODS),
    "json list": json.dumps({"apiVersion": "v1", "kind": "List", "items": [*PODS, DENY]}),
    "json array": json.dumps([DENY, *PODS]),
    "json stream": "".join(json.dumps(obj) + "\n" for obj in [*PODS, DENY]),
    "yaml list": to_yaml({"apiVersion": "v1", "kind": "List", "items": [DENY, *PODS]}),
    "yaml sequence": yaml.safe_dump([DENY, *PODS], default_flow_style=True),
    "pod list": to_yaml({"apiVersion": "v1", "kind": "PodList", "items": PODS}, DENY),
    "policy list": to_yaml(
        *PODS, {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": [DENY]}
    ),
    "bom": "\ufeff---\n---\n" + to_yaml(*PODS, DENY) + "\n---\n# nothing\n",
    "crlf": to_yaml(*PODS, DENY).replace("\n", "\r\n"),
}


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("name", ["stdin", "file"])
    def test_every_form_reads_alike(
        self, evaluate: Evaluate, form: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if name == "file":
            ran = evaluate(FORMS[form], "--json", name="objects.json" if "json" in form else "objects.yaml")
        else:
            path = tmp_path / "stdin"
            path.write_bytes(FORMS[form].encode())
            with path.open() as stdin:
                monkeypatch.setattr("sys.stdin", stdin)
                ran = evaluate.command("-", "--json")  # type: ignore[attr-defined]
        assert denied(ran.verdicts) == {("x/a", "y/b")}

    def test_lists_without_kind_of_items_and_without_items(self, evaluate: Evaluate) -> None:
        items = [
            {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")} for obj in PODS
        ]
        lists = [{"kind": "PodList", "items": items}, {"kind": "NetworkPolicyList", "items": None}]
        assert len(evaluate(to_yaml(*lists), "--json").verdicts) == 4

    def test_directories_and_several_files(self, evaluate: Evaluate, tmp_path: Path) -> None:
        below = tmp_path / "manifests" / "nested"
        below.mkdir(parents=True)
        (below / "pods.json").write_text(json.dumps(PODS))
        (tmp_path / "manifests" / "deny.yml").write_text(to_yaml(DENY))
        (tmp_path / "manifests" / "README.md").write_text("no manifest")
        (tmp_path / "manifests" / ".hidden.yaml").write_text("{broken")
        ran = evaluate.command(str(tmp_path / "manifests"), "--json")  # type: ignore[attr-defined]
        assert denied(ran.verdicts) == {("x/a", "y/b")}
        files = [str(below / "pods.json"), str(tmp_path / "manifests" / "deny.yml")]
        assert evaluate.command(*files, "--json").out == ran.out  # type: ignore[attr-defined]

    def test_namespaces_are_default_and_need_no_objects(self, evaluate: Evaluate) -> None:
        bare: Obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
        name = {"kubernetes.io/metadata.name": "default"}
        policy = network_policy("p", "y", ingress=[rule([peer(namespaces=name)])])
        verdicts = evaluate([bare, *PODS, policy], "--json", "--to", "y/b").verdicts
        assert {(v["from"], v["verdict"]) for v in verdicts} == {
            ("default/a", "allow"),
            ("x/a", "deny"),
            ("y/b", "allow"),
        }


class TestYaml:
    """Where Go's YAML and Python's differ."""

    def text(self, label: str) -> str:
        return (
            "apiVersion: v1\nkind: Pod\n"
            f"metadata: {{name: a, namespace: y, labels: {{k: {label}}}}}\n"
            "spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}\n"
        )

    def test_an_unquoted_y_is_text_and_said_so(self, evaluate: Evaluate) -> None:
        ran = evaluate(self.text("n"), "--json")
        assert {v["to"] for v in ran.verdicts} == {"y/a"}
        assert "objects.yaml:3: unquoted y is taken as text, but kubectl reads a boolean" in ran.err
        assert "unquoted n is" in ran.err

    @pytest.mark.parametrize("label", ["12:30", "2026-01-01", '"yes"'])
    def test_what_go_reads_as_text_is_text(self, evaluate: Evaluate, label: str) -> None:
        assert evaluate(self.text(label), "--json").status == 0

    @pytest.mark.parametrize(("label", "kind"), [("yes", "bool"), ("off", "bool"), ("1", "number")])
    def test_what_is_no_text_is_refused_as_by_the_api(
        self, evaluate: Evaluate, label: str, kind: str
    ) -> None:
        ran = evaluate(self.text(label))
        assert (ran.status, ran.out) == (2, "")
        assert f"json: cannot unmarshal {kind} into Go struct field ObjectMeta.metadata.labels.k" in ran.err

    def test_keys_become_text(self, evaluate: Evaluate) -> None:
        policy = network_policy("p", "y", ingress=[rule([peer({"true": "t", "80": "x"})])])
        text = self.text("v").replace("k: v", "true: t, 80: x")
        other = text.replace("name: a", "name: b")
        verdicts = evaluate(text + "---\n" + other + "---\n" + to_yaml(policy), "--json").verdicts
        assert not denied(verdicts)

    def test_a_key_given_twice_is_an_error(self, evaluate: Evaluate) -> None:
        ran = evaluate(to_yaml(*PODS) + "---\nkind: NetworkPolicy\nspec:\n  ingress: []\n  ingress: [{}]\n")
        assert ran.status == 2
        assert "objects.yaml:" in ran.err
        assert "key 'ingress' is given twice" in ran.err

    def test_anchors_and_merge_keys_are_resolved(self, evaluate: Evaluate) -> None:
        text = self.text("v").replace("labels: {k: v}", "labels: &l {k: v}") + (
            "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: x, labels: {<<: {k: w}, k: v}}\n"
        )
        policy = network_policy("p", "y", ingress=[rule([peer({"k": "v"}, {})])])
        assert not denied(evaluate(text + "---\n" + to_yaml(policy), "--json").verdicts)


class TestBadInput:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "no Kubernetes objects in the input"),
            ("# nothing\n---\n", "no Kubernetes objects in the input"),
            ("kind: Pod\nmetadata: [name: a\n", "objects.yaml:3: invalid YAML"),
            ("a: 1\nb: c: d\n", "objects.yaml:2: invalid YAML: mapping values are not allowed"),
            ("kind: Pod\nspec: {{ .Values.x }}\n", "objects.yaml:2: invalid YAML"),
            ("just text", "objects.yaml:1: no Kubernetes object (a mapping with kind): just text"),
            ("a: 1\n---\nb: 2\n", "objects.yaml:1: no Kubernetes object"),
            ("kind: List\nitems: [1]\n", "objects.yaml:1: no Kubernetes object (a mapping with kind): 1"),
            ("kind: Pod\n", "objects.yaml:1: Pod without metadata.name"),
            ("kind: Pod\nmetadata: {name: 7}\n", "cannot unmarshal number into Go struct field"),
            ("kind: Pod\nmetadata: {name: a}\nspec: 3\n", "spec is no mapping"),
            ("kind: Pod\nmetadata: {name: a}\nspec: {containers: [1]}\n", "Pod default/a cannot be read"),
            (
                "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{ports: [{containerPort: 70000}]}]}\n",
                "Pod default/a cannot be read: containerPort 70000 is not between 1 and 65535",
            ),
            ("kind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0}\n", "'10.0.0' is no IP address"),
            ("kind: Service\nmetadata: {name: s}\nspec: {ports: [{}]}\n", "port is missing"),
            ("kind: Deployment\nmetadata: {name: d}\nspec: {template: 5}\n", "cannot be read"),
            ("kind: ConfigMap\nmetadata: {name: c}\n", "no pods and no workloads in the input"),
            (b"kind: Pod\nmetadata: {name: \xff}\n", "objects.yaml:2: not UTF-8 text"),
        ],
    )
    def test_it_is_named_with_file_and_line(self, evaluate: Evaluate, text: str | bytes, words: str) -> None:
        ran = evaluate(text)
        assert (ran.status, ran.out) == (2, "")
        assert words in ran.err
        assert "Traceback" not in ran.err

    def test_broken_json_is_named_with_file_and_line(self, evaluate: Evaluate) -> None:
        ran = evaluate('{\n "kind": "Pod",,\n}', name="objects.json")
        assert ran.status == 2
        assert "objects.json:2: invalid JSON" in ran.err

    def test_files_that_are_not_there(self, evaluate: Evaluate, tmp_path: Path) -> None:
        for path, words in (
            (tmp_path / "none.yaml", "none.yaml: No such file or directory"),
            (tmp_path, "no .yaml, .yml, .json file in this directory"),
        ):
            ran = evaluate.command(str(path))  # type: ignore[attr-defined]
            assert ran.status == 2
            assert words in ran.err

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--from", "x/zz", "--to", "y/b"], "no pod 'x/zz' in the objects given"),
            (["--from", "x/a", "--to", "y/c"], "no pod 'y/c' in the objects given; did you mean y/b?"),
            (["--to", "y/svc:s"], "no Service 'y/s'"),
            (["--from", "y/svc:b"], "no Service 'y/b'"),
            (["--from", "192.0.2.1", "--to", "2001:db8::1"], "no pod is concerned, so no policy is"),
            (["--port", "0"], "a port is a number from 1 to 65535"),
            (["--port", "web"], "a port is a number from 1 to 65535"),
            (["--port", "8/ICMP"], "NP-ICMP-1"),
        ],
    )
    def test_options_that_name_nothing(self, evaluate: Evaluate, options: list[str], words: str) -> None:
        ran = evaluate(PODS, *options)
        assert (ran.status, ran.out) == (2, "")
        assert words in ran.err
        if not words.startswith(("a port", "NP-")):
            assert len(ran.err.splitlines()) == 1

    def test_a_finished_pod_is_no_end(self, evaluate: Evaluate) -> None:
        job = pod("x/job")
        job["status"]["phase"] = "Succeeded"
        ran = evaluate([*PODS, job], "--from", "x/job", "--to", "y/b")
        assert ran.status == 2
        assert "x/job has finished" in ran.err
        assert "x/job" not in evaluate([*PODS, job], "--json").out


class TestInvalidPolicies:
    def test_all_are_named_with_the_apis_reasons_and_nothing_is_evaluated(self, evaluate: Evaluate) -> None:
        first = network_policy("first", "y", ingress=[rule([{}], [port(80, end=79)])])
        second = network_policy("second", "x", {"k": "-"}, types=["Both"])
        ran = evaluate([*PODS, first, DENY, second], "--json")
        assert (ran.status, ran.out) == (2, "")
        for words in (
            "NetworkPolicy y/first is invalid: spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater",
            "NetworkPolicy y/first is invalid: spec.ingress[0].from[0]: Required value: must specify a peer",
            'NetworkPolicy x/second is invalid: spec.podSelector.matchLabels: Invalid value: "-": a valid label',
            'x/second is invalid: spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"',
        ):
            assert words in ran.err
        assert "y/deny" not in ran.err

    def test_one_that_a_later_duplicate_mends_is_still_named(self, evaluate: Evaluate) -> None:
        wrong = network_policy("deny", "y", ingress=[rule([{}])])
        assert evaluate([*PODS, wrong, DENY]).status == 2

    @pytest.mark.parametrize(
        "version", ["extensions/v1beta1", "networking.k8s.io/v1beta1", "v1", "networking/v1"]
    )
    def test_versions_that_no_server_knows(self, evaluate: Evaluate, version: str) -> None:
        ran = evaluate([*PODS, DENY | {"apiVersion": version}])
        assert ran.status == 2
        assert f'no matches for kind "NetworkPolicy" in version "{version}"' in ran.err

    def test_policies_of_other_apis_are_named_as_not_evaluated(self, evaluate: Evaluate) -> None:
        others = [
            {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "c"}},
            {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "d"}},
        ]
        ran = evaluate([*PODS, *others])
        assert ran.status == 0
        assert (
            "policies of other APIs are not evaluated: CiliumNetworkPolicy of cilium.io/v2 (1), "
            "NetworkPolicy of projectcalico.org/v3 (1)"
        ) in ran.err


def test_other_kinds_are_ignored_and_counted(evaluate: Evaluate) -> None:
    others = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"}},
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []},
    ]
    ran = evaluate([*others, *PODS], "--json")
    assert len(ran.verdicts) == 4
    assert "3 objects of other kinds ignored: Kustomization (1), Secret (1), Service (1)" in ran.err


def test_of_two_objects_of_one_name_the_later_counts(evaluate: Evaluate) -> None:
    allow = network_policy("deny", "y", ingress=[rule()])
    ran = evaluate([*PODS, DENY, allow], "--json")
    assert not denied(ran.verdicts)
    assert "NetworkPolicy y/deny is given twice" in ran.err
    assert evaluate([*PODS, DENY, DENY], "--json").err == ""
