# SPDX-License-Identifier: Apache-2.0
"""``cniconformance evaluate`` on good input: which verdicts, in which form."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_cniconformance.policy.builders import Obj, network_policy, peer, port, rule, to_yaml
from tests.cli.conftest import Evaluate, pod

PODS = [pod("x/a"), pod("y/b", ports=[80, "53/UDP"]), pod("z/c", ports=[])]
DENY = network_policy("deny", "y")
WEB = network_policy(
    "web",
    "y",
    {"pod": "b"},
    ingress=[rule([peer(namespaces={"kubernetes.io/metadata.name": "x"})], [port(80)])],
)
KEYS = {"from", "to", "port", "protocol", "ingress", "egress", "verdict", "because"}


def test_json_has_the_promised_shape(evaluate: Evaluate) -> None:
    verdicts = evaluate([*PODS, DENY, WEB], "--json").verdicts
    assert all(set(v) == KEYS for v in verdicts)
    assert all(v["because"] and all(isinstance(line, str) for line in v["because"]) for v in verdicts)
    asked = [(v["port"], v["protocol"], v["from"], v["to"]) for v in verdicts]
    names = ["x/a", "y/b", "z/c"]
    assert asked == [
        *((53, "UDP", s, "y/b") for s in names),
        *((80, "TCP", s, d) for s in names for d in names[:2]),
    ]


def test_verdicts_and_reasons(evaluate: Evaluate) -> None:
    ran = evaluate([*PODS, DENY, WEB], "--json")
    assert ran.verdict("x/a", "y/b") == {
        "from": "x/a",
        "to": "y/b",
        "port": 80,
        "protocol": "TCP",
        "ingress": "allow",
        "egress": "allow",
        "verdict": "allow",
        "because": [
            "no policy isolates x/a for egress",
            "y/web ingress rule 0, peer 0 matches x/a on 80/TCP",
        ],
    }
    assert ran.verdict("x/a", "y/b", 53, "UDP")["ingress"] == "deny"
    assert ran.verdict("z/c", "y/b")["because"] == [
        "y/deny, y/web isolate y/b for ingress; no rule matches z/c"
    ]
    assert ran.verdict("y/b", "y/b")["verdict"] == "allow"


def test_ports_are_those_asked_for(evaluate: Evaluate) -> None:
    verdicts = evaluate(PODS, "--json", "--port", "443", "--port", "9/udp").verdicts
    asked = {(v["from"], v["to"], v["port"], v["protocol"]) for v in verdicts}
    names = ["x/a", "y/b", "z/c"]
    assert asked == {(s, d, *p) for s, d, p in itertools.product(names, names, [(443, "TCP"), (9, "UDP")])}


def test_a_pod_without_ports_is_said_so(evaluate: Evaluate) -> None:
    ran = evaluate(PODS)
    assert ran.status == 0
    assert "no container ports, not evaluated as destination without --port: z/c" in ran.err
    ran = evaluate(PODS[2:])
    assert (ran.status, ran.out) == (2, "")
    assert "no pod declares a container port" in ran.err


def test_ports_of_sidecars_count(evaluate: Evaluate) -> None:
    """NP-PRT-8: the ports of restartable init containers, and of no other init containers."""
    made = pod("x/s", ports=[])
    made["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 90, "name": "side"}]},
        {"name": "once", "ports": [{"containerPort": 91}]},
    ]
    assert {v["port"] for v in evaluate([made], "--json").verdicts} == {90}


class TestExternal:
    RULES = network_policy(
        "p",
        "y",
        {},
        ingress=[rule([peer(cidr="203.0.113.0/24", except_=["203.0.113.128/25"])])],
        egress=[rule([peer(cidr="2001:db8::/32")])],
        types=["Ingress", "Egress"],
    )

    def test_it_is_a_peer_in_both_directions(self, evaluate: Evaluate) -> None:
        options = [w for a in ("203.0.113.9", "203.0.113.200", "2001:DB8::9") for w in ("--external", a)]
        ran = evaluate([*PODS, self.RULES], "--json", *options)
        assert ran.verdict("203.0.113.9", "y/b")["verdict"] == "allow"
        assert ran.verdict("203.0.113.9", "y/b")["egress"] == "allow"
        assert ran.verdict("203.0.113.200", "y/b")["ingress"] == "deny"
        assert ran.verdict("y/b", "203.0.113.9")["egress"] == "deny"
        assert ran.verdict("y/b", "203.0.113.9")["ingress"] == "allow"
        assert ran.verdict("y/b", "2001:DB8::9")["verdict"] == "allow"
        assert ran.verdict("2001:DB8::9", "y/b")["verdict"] == "deny"
        ends = {(v["from"], v["to"]) for v in ran.verdicts}
        assert not [pair for pair in ends if not any("/" in end for end in pair)]
        # A destination outside is asked for on every port that pods declare.
        assert {v["port"] for v in ran.verdicts if v["to"] == "203.0.113.9"} == {53, 80}

    def test_an_ipv4_address_in_ipv6_notation_is_ipv4(self, evaluate: Evaluate) -> None:
        ran = evaluate([*PODS, self.RULES], "--json", "--external", "::ffff:203.0.113.9")
        assert ran.verdict("::ffff:203.0.113.9", "y/b")["verdict"] == "allow"

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("here", "'here' is no IP address"),
            ("fe80::1%eth0", "has a zone"),
            ("10.0.0.7", "this is the address of x/q, inside the cluster"),
            ("203.0.113.0/24", "is no IP address"),
        ],
    )
    def test_what_is_no_address_outside_is_refused(
        self, evaluate: Evaluate, address: str, words: str
    ) -> None:
        ran = evaluate([pod("x/q", "10.0.0.7")], "--external", address)
        assert (ran.status, ran.out) == (2, "")
        assert words in ran.err


class TestOnePair:
    def test_the_explanation_names_every_policy_and_rule(self, evaluate: Evaluate) -> None:
        other = network_policy("other", "y", {"pod": "q"})
        egress = network_policy("out", "y", {}, types=["Egress"])
        ran = evaluate([*PODS, DENY, WEB, other, egress], "--from", "z/c", "--to", "y/b", "--port", "80/TCP")
        assert ran.out.splitlines() == [
            "z/c → y/b:80/TCP: deny",
            "  because y/deny, y/web isolate y/b for ingress; no rule matches z/c",
            "",
            "egress of z/c: allow",
            "  namespace z has no policies",
            "",
            "ingress of y/b: deny",
            "  y/deny selects y/b and has no ingress rule",
            "  y/out selects y/b, but its policyTypes do not list Ingress",
            "  y/web selects y/b",
            "    rule 0, 80/TCP: covers 80/TCP",
            "      peer 0, from namespaces kubernetes.io/metadata.name=x: namespace z has kubernetes.io/metadata.name=z",
            "  y/other does not select y/b: it wants pod=q, the pod has pod=b",
        ]

    def test_in_json_it_is_one_verdict(self, evaluate: Evaluate) -> None:
        [one] = evaluate([*PODS, DENY], "--json", "--from", "x/a", "--to", "y/b", "--port", "80/TCP").verdicts
        assert (one["verdict"], one["ingress"], one["egress"]) == ("deny", "deny", "allow")

    def test_one_side_alone_lists_its_verdicts(self, evaluate: Evaluate) -> None:
        ran = evaluate([*PODS, DENY], "--to", "y/b", "--port", "80")
        assert [line for line in ran.out.splitlines() if not line.startswith(" ")] == [
            "x/a → y/b:80/TCP: deny",
            "y/b → y/b:80/TCP: allow",
            "z/c → y/b:80/TCP: deny",
        ]
        assert {v["from"] for v in evaluate(PODS, "--json", "--from", "x/a").verdicts} == {"x/a"}

    def test_ends_may_be_addresses_nodes_and_services(self, evaluate: Evaluate) -> None:
        node = {
            "kind": "Node",
            "metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.1"}]},
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s", "namespace": "y"},
            "spec": {"selector": {"pod": "b"}, "ports": [{"port": 8080, "targetPort": 80}]},
        }
        objs = [*PODS, DENY, WEB, node, service]
        [one] = evaluate(objs, "--json", "--from", "n1", "--to", "y/b", "--port", "80").verdicts
        assert one["verdict"] == "unspecified"
        [one] = evaluate(objs, "--json", "--from", "x/a", "--to", "y/svc:s").verdicts
        assert (one["to"], one["port"], one["verdict"]) == ("y/svc:s", 8080, "allow")
        assert "y/web ingress rule 0, peer 0 matches x/a on 80/TCP" in one["because"]
        [one] = evaluate(objs, "--json", "--from", "198.51.100.1", "--to", "y/b", "--port", "80").verdicts
        assert one["verdict"] == "deny"

    def test_a_bare_name_is_looked_for_in_default(self, evaluate: Evaluate) -> None:
        [one] = evaluate([pod("default/a"), *PODS], "--json", "--from", "a", "--to", "x/a").verdicts
        assert one["from"] == "default/a"


class TestFamilies:
    ALLOW4 = network_policy("p", "y", ingress=[rule([peer(cidr="10.0.0.0/8")])])
    DUAL = (pod("x/a", "10.0.0.1", "fd00::1"), pod("y/b", "10.0.0.2", "fd00::2"))

    def test_a_verdict_per_family_only_where_they_differ(self, evaluate: Evaluate) -> None:
        verdicts = evaluate([*self.DUAL, self.ALLOW4], "--json", "--from", "x/a").verdicts
        assert [(v["to"], v.get("family"), v["verdict"]) for v in verdicts] == [
            ("x/a", None, "allow"),
            ("y/b", "ipv4", "unspecified"),
            ("y/b", "ipv6", "deny"),
        ]
        assert "~ IPv4 and IPv6 differ" in evaluate([*self.DUAL, self.ALLOW4]).out

    def test_the_family_of_single_stack_pods_is_theirs(self, evaluate: Evaluate) -> None:
        pods = [pod("x/a", "fd00::1"), pod("y/b", "fd00::2")]
        [one] = evaluate([*pods, self.ALLOW4], "--json", "--from", "x/a", "--to", "y/b").verdicts
        assert one["verdict"] == "deny"

    def test_a_pod_without_address_may_get_one_inside_a_block(self, evaluate: Evaluate) -> None:
        [one] = evaluate(
            [pod("x/a"), pod("y/b"), self.ALLOW4], "--json", "--from", "x/a", "--to", "y/b"
        ).verdicts
        assert one["verdict"] == "unspecified"
        assert "x/a has no address yet" in one["because"][0]


class TestMatrix:
    def test_it_is_read_row_to_column(self, evaluate: Evaluate) -> None:
        out = evaluate([*PODS, DENY, WEB]).out
        assert out.splitlines()[6:11] == [
            "80/TCP",
            "       1 2",
            "1  x/a . .",
            "2  y/b . .",
            "3  z/c . X",
        ]
        assert out.splitlines()[-1] == "9 verdicts: 6 allow, 3 deny, 0 unspecified"

    def test_pods_treated_alike_share_a_row_in_a_large_cluster(self, evaluate: Evaluate) -> None:
        pods = [pod(f"x/a{i:02}", app="a") for i in range(20)] + [
            pod(f"y/b{i:02}", app="b") for i in range(20)
        ]
        out = evaluate([*pods, DENY]).out
        assert out.splitlines()[1:4] == [
            "                      1 2",
            "1  x/a00 and 19 alike . X",
            "2  y/b00 and 19 alike . X",
        ]

    def test_a_cluster_of_too_many_kinds_is_summed_up_by_namespace(self, evaluate: Evaluate) -> None:
        pods = [pod(f"x/a{i:02}", app=f"a{i}") for i in range(60)]
        policies = [
            network_policy(
                f"p{i}", "x", {"app": f"a{i}"}, ingress=[rule([peer({"app": f"a{(i * 7) % 60}"})])]
            )
            for i in range(60)
        ]
        out = evaluate([*pods, *policies]).out
        assert "by namespace" in out
        assert "  x → x: 114 ., 3486 X" in out


def test_any_order_of_objects_prints_the_same(evaluate: Evaluate) -> None:
    objs: list[Obj] = [*PODS, DENY, WEB]
    assert evaluate(objs, "--json").out == evaluate(objs[::-1], "--json").out


def test_stdin_and_no_import_of_what_is_not_needed(tmp_path: Path) -> None:
    """Neither pytest nor a Kubernetes client nor the lab is loaded."""
    code = (
        "import sys; from pytest_cniconformance.cli import main; status = main(sys.argv[1:]);"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'pytest', '_pytest', 'kubernetes', 'pykube',"
        " 'requests', 'aiohttp'}), [n for n in sys.modules if n.startswith('pytest_cniconformance.lab')], status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "-", "--json"],
        input=to_yaml(*PODS, DENY),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.splitlines()[0] == '{"verdicts": ['
    assert done.stdout.splitlines()[-1] == "[] [] 0"


def test_a_terminal_without_unicode_is_no_reason_to_fail(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(to_yaml(*PODS))
    command = [str(Path(sys.executable).with_name("cniconformance")), "evaluate", str(path), "--from", "x/a"]
    done = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "ascii"}, check=True)
    assert b"x/a \\u2192 y/b:80/TCP: allow" in done.stdout
