# SPDX-License-Identifier: Apache-2.0
"""Where traffic from outside starts: the words of ``--cni-external`` and the commands that they mean."""

from __future__ import annotations

import sys

import pytest

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.probe import ProcessTransport
from pytest_cniconformance.probe.session import AgentSession
from pytest_cniconformance.probe.vantage import describe_vantage, vantage_command


@pytest.mark.parametrize(
    ("choice", "provided", "name"),
    [
        ("auto", True, "the provider's host outside the cluster"),
        ("auto", False, "the machine that runs pytest"),
        ("runner", True, "the machine that runs pytest"),
        ("node:n1", True, "a hostNetwork pod on node n1"),
        ("exec:ssh bastion {agent}", False, "`ssh bastion {agent}`"),
    ],
)
def test_reports_name_the_vantage(choice: str, provided: bool, name: str) -> None:
    assert describe_vantage(choice, provided=provided) == name


@pytest.mark.parametrize("choice", ["moon", "node:", "exec:", "node"])
def test_another_word_is_refused(choice: str) -> None:
    with pytest.raises(UsageError, match="auto, runner, node:NAME or exec:COMMAND"):
        describe_vantage(choice, provided=False)


def test_the_providers_command_is_for_auto_only() -> None:
    assert vantage_command("auto", ["nsenter", "-n"], identity="o")[:3] == ["nsenter", "-n", sys.executable]
    assert vantage_command("runner", ["nsenter", "-n"], identity="o")[0] == sys.executable


def test_unbalanced_quotes_are_refused() -> None:
    with pytest.raises(UsageError, match="quotation"):
        vantage_command("exec:ssh 'bastion", [], identity="o")


@pytest.mark.parametrize("choice", ["exec:env -i", "exec:sh -c {agent}"])
def test_an_agent_starts_behind_the_users_command(choice: str) -> None:
    argv = vantage_command(choice, [], identity="outside")
    session = AgentSession("outside", lambda: ProcessTransport(argv=argv, identity="outside"))
    try:
        assert session.open().identity == "outside"
        refused = session.request("probe", w=300, cells=[["127.0.0.1", 1, "TCP"]])["r"][0]
        assert refused[0] == "refused"
    finally:
        session.close()
