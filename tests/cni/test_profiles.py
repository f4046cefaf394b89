# SPDX-License-Identifier: Apache-2.0
"""The bundled profiles are complete, and a profile that says something wrong is refused."""

from __future__ import annotations

import datetime

import pytest

from pytest_cniconformance.cli.catalogue import entries
from pytest_cniconformance.cni import (
    CAPABILITIES,
    Claim,
    CniProfile,
    known_profiles,
    load_profile,
    parse_profile,
)
from pytest_cniconformance.model.failure import UsageError

TODAY = datetime.date(2026, 11, 20)

MINIMAL = """
name = "x"
title = "X"
url = "https://x.example/"
""" + "".join(f'[claims.{capability}]\nclaim = "claimed"\n' for capability in CAPABILITIES)


@pytest.mark.parametrize("name", known_profiles())
def test_a_bundled_profile_is_complete(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.url.startswith("https://")
    assert set(profile.statements) == set(CAPABILITIES)
    for statement in profile.statements.values():
        if statement.claim is not Claim.CLAIMED:
            assert statement.reference.startswith("https://")
    assert all(
        profile.detection.over.count(other) == 1 and other in known_profiles()
        for other in profile.detection.over
    )
    assert profile.claims("l7") == (profile.l7_api is not None)


@pytest.mark.parametrize("name", known_profiles())
def test_every_deviation_is_of_a_check_that_exists(name: str) -> None:
    """An entry for an id that no check has excuses nothing, and nobody notices."""
    ids = [entry.requirement.id for entry in entries()]
    for deviation in load_profile(name).deviations:
        assert any(deviation.concerns(id) for id in ids), deviation.requirement


def test_the_profiles_that_the_product_names_are_there() -> None:
    assert set(known_profiles()) >= {
        "antrea", "aws-vpc-cni", "azure", "calico", "cilium", "flannel", "generic", "kube-router", "ovn-kubernetes",
    }  # fmt: skip


def test_flannel_accepts_policies_without_enforcing_them() -> None:
    flannel = load_profile("flannel")
    assert flannel.claim("networkpolicy") is Claim.NOT_ENFORCED
    assert not flannel.claims("networkpolicy")
    assert flannel.absent("networkpolicy") == ""  # the checks run, and prove it
    assert "layer-3" in flannel.absent("l7")
    assert flannel.claim_table()["networkpolicy"] == "not-enforced"


def test_cilium_and_calico_differ_where_the_api_leaves_the_choice() -> None:
    cilium, calico = load_profile("cilium"), load_profile("calico")
    assert cilium.l7_api == ("cilium.io/v2", "CiliumNetworkPolicy")
    assert calico.l7_api is None
    assert (cilium.established_connections, calico.established_connections) == ("dropped", "kept")
    assert cilium.deviation("NP-DEF-2", TODAY) is not None
    assert calico.deviation("NP-DEF-2", TODAY) is None


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown CNI 'Callico'. Did you mean calico\? Known: antrea, .*weave"
    ):
        load_profile("Callico")
    with pytest.raises(UsageError, match=r"unknown CNI .\.\./calico"):
        load_profile("../calico")


def deviating(entry: str) -> CniProfile:
    return parse_profile(
        f'{MINIMAL}[[deviations]]\nreason = "r"\nreference = "https://x.example/1"\n{entry}', where="x.toml"
    )


def test_a_deviation_ends_with_its_day() -> None:
    profile = deviating('requirement = "NP-END-*"\nexpires = 2026-11-20')
    assert profile.deviation("NP-END-2", TODAY) is not None
    assert profile.deviation("NP-ENDING", TODAY) is None
    tomorrow = TODAY + datetime.timedelta(days=1)
    assert profile.deviation("NP-END-2", tomorrow) is None
    assert profile.expired(TODAY) == ()
    assert [d.requirement for d in profile.expired(tomorrow)] == ["NP-END-*"]


def test_an_expired_deviation_is_reported() -> None:
    (note,) = deviating('requirement = "NP-END-1"\nexpires = 2020-01-01').notes
    assert (
        note
        == "the known deviation of NP-END-1 expired on 2020-01-01 and excuses nothing: https://x.example/1"
    )


@pytest.mark.parametrize(
    ("version", "excused"),
    [
        ("1.15.9", False),
        ("v1.16.0", True),
        ("1.20.99-rc1", True),
        ("1.21", False),
        ("1.21.0", False),
        ("", True),
    ],
)
def test_a_deviation_is_of_some_versions(version: str, excused: bool) -> None:
    profile = deviating('requirement = "A"\nexpires = 2030-01-01\nversions = ">=1.16, <1.21"')
    assert (profile.deviation("A", TODAY, version) is not None) is excused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name =", "x.toml: Invalid value"),
        ("", "name is missing"),
        (MINIMAL.replace('"X"', '""'), "title is empty"),
        (MINIMAL.replace('"X"', "1"), "title must be a string, not 1"),
        ("nmae = 1" + MINIMAL, "nmae is no key"),
        (MINIMAL.replace("[claims.l7]", "[claims.l8]"), "l7 is missing"),
        (MINIMAL + "[claims.extra]\n", r"\[claims\]: extra is no key"),
        (MINIMAL + 'reson = "x"', r"\[latency\]: reson is no key"),
        (MINIMAL[: -len('"claimed"\n')] + '"maybe"', "claim must be one of claimed, accepted-not-enforced, not-claimed"),
        (MINIMAL[: -len('"claimed"\n')] + '"not-claimed"', "reason and reference are required for not-claimed"),
        (MINIMAL + '[detect]\ndaemonset = ["x"]', r"\[detect\]: daemonset is no key"),
        (MINIMAL + '[detect]\ndaemonsets = "x"', "daemonsets must be a list, not 'x'"),
        (MINIMAL + "[detect]\ncrds = [1]", "crds must be a list of strings"),
        (MINIMAL + '[traits]\nestablished-connections = "cut"', "must be one of kept, dropped, unknown"),
        ('l7-dialect = "x"' + MINIMAL, "l7-dialect must be an API version and a kind"),
        ("deviations = [1]" + MINIMAL, "deviations must be a list of tables"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_profile_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_profile(text, where="x.toml")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('requirement = "A"', "expires is missing"),
        ('requirement = "A"\nexpires = "2027-01-01"', "expires must be a date"),
        ('requirement = "A"\nexpires = 2027-01-01T00:00:00Z', "expires must be a date"),
        ('requirement = "A"\nexpires = 2027-01-01\nversions = "1.2"', "'1.2' is no version comparison"),
        ('requirement = "A"\nexpires = 2027-01-01\nuntil = 1', "until is no key"),
    ],
)
def test_a_mistake_in_a_deviation_is_named(entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        deviating(entry)


def test_a_deviation_needs_a_public_reference() -> None:
    text = f'{MINIMAL}[[deviations]]\nrequirement = "A"\nreason = "r"\nreference = "we know"\nexpires = 2027-01-01'
    with pytest.raises(UsageError, match="reference must be a URL"):
        parse_profile(text, where="x.toml")
