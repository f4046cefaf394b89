# SPDX-License-Identifier: Apache-2.0
"""The makers serialise exactly what they are given, in a form that every YAML parser reads alike."""

from __future__ import annotations

import doctest

import pytest
import yaml

from pytest_cniconformance.policy import builders
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule, to_yaml


def test_absent_and_empty_are_kept_apart() -> None:
    assert network_policy("p", "x")["spec"] == {"podSelector": {}}
    assert network_policy("p", "x", ingress=[], types=[])["spec"] == {
        "podSelector": {},
        "policyTypes": [],
        "ingress": [],
    }
    assert network_policy("p", "x", ingress=[rule()])["spec"]["ingress"] == [{}]
    assert network_policy("p", "x", ingress=[rule([], [])])["spec"]["ingress"] == [{"from": [], "ports": []}]
    assert peer() == {}
    assert peer({}, {}) == {"podSelector": {}, "namespaceSelector": {}}
    assert port() == {"protocol": "TCP"}
    assert port("web", None) == {"port": "web"}


def test_peers_are_from_or_to_by_the_section_that_holds_them() -> None:
    made = [peer({"pod": "a"}, {"ns": "x"})]
    spec = network_policy("p", "x", ingress=[rule(from_=made)], egress=[rule(to=made), rule(made)])["spec"]
    selectors = {
        "podSelector": {"matchLabels": {"pod": "a"}},
        "namespaceSelector": {"matchLabels": {"ns": "x"}},
    }
    assert spec["ingress"] == [{"from": [selectors]}]
    assert spec["egress"] == [{"to": [selectors]}] * 2


def test_raw_rules_and_selectors_pass_through() -> None:
    raw = {"matchExpressions": [{"key": "k", "operator": "Exists"}]}
    spec = network_policy("p", "x", raw, ingress=[{"ports": [{"port": 1}]}])["spec"]
    assert spec == {"podSelector": raw, "ingress": [{"ports": [{"port": 1}]}]}


@pytest.mark.parametrize(
    "word", ["y", "N", "yes", "off", "1", "1e3", "0x1f", "null", "~", "", "1_000", ":", "- a", "12:30"]
)
def test_ambiguous_text_is_quoted(word: str) -> None:
    text = to_yaml(network_policy("p", word or "x", {word or "k": word}))
    assert f'"{word}"' in text
    assert yaml.safe_load(text)["spec"]["podSelector"]["matchLabels"] == {word or "k": word}


def test_several_objects_become_documents() -> None:
    objs = [network_policy("p", "x", ingress=[rule(ports=[port(80, end=90)])]), network_policy("q", "y")]
    assert list(yaml.safe_load_all(to_yaml(*objs))) == objs


@pytest.mark.parametrize(
    "call",
    [
        lambda: network_policy("p", "x", {"a": True}),
        lambda: rule([], from_=[]),
        lambda: peer(except_=["10.0.0.0/8"]),
    ],
)
def test_mistakes_of_the_author_are_type_errors(call: object) -> None:
    with pytest.raises(TypeError):
        call()  # type: ignore[operator]


def test_the_example_in_the_docs_works() -> None:
    assert doctest.testmod(builders).failed == 0
