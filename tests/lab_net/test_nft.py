# SPDX-License-Identifier: Apache-2.0
"""Rulesets as values: transitions are small, ordered, and the kernel agrees with them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_cniconformance.lab.dataplane.nft import Table, chain_name, transition
from tests.lab_net.conftest import require_kernel


def small(*, members: tuple[str, ...] = ("10.0.0.1",), extra: str = "") -> Table:
    table = Table("inet t")
    table.set("peers", "type ipv4_addr;", members)
    table.chain("pod", ["ip saddr @peers accept", "drop"])
    table.map("of", "type ifname : verdict;", {'"cali1"': "jump pod"})
    table.chain(
        "forward", ["oifname vmap @of", *([extra] if extra else [])], "type filter hook forward priority 0;"
    )
    return table


def test_nothing_to_do_is_nothing_done() -> None:
    assert transition(small(), small()) == ""
    assert transition(None, Table("inet t")) == ""


def test_a_new_member_is_one_element() -> None:
    script = transition(small(), small(members=("10.0.0.1", "10.0.0.2")))
    assert script == "add element inet t peers { 10.0.0.2 }\n"
    back = transition(small(members=("10.0.0.1", "10.0.0.2")), small())
    assert back == "delete element inet t peers { 10.0.0.2 }\n"


def test_only_the_changed_chain_is_written_again() -> None:
    script = transition(small(), small(extra="counter"))
    assert script.splitlines() == [
        "flush chain inet t forward",
        "add rule inet t forward oifname vmap @of",
        "add rule inet t forward counter",
    ]


def test_what_is_gone_is_let_go_before_it_is_deleted() -> None:
    new = Table("inet t")
    new.map("of", "type ifname : verdict;")
    new.chain("forward", ["oifname vmap @of"], "type filter hook forward priority 0;")
    assert transition(small(), new).splitlines() == [
        "flush chain inet t pod",
        'delete element inet t of { "cali1" }',
        "delete chain inet t pod",
        "delete set inet t peers",
    ]
    assert transition(small(), Table("inet t")) == "delete table inet t\n"


def test_chain_names_are_short_readable_and_unique() -> None:
    one, two = chain_name("svc", "x" * 200 + "1"), chain_name("svc", "x" * 200 + "2")
    assert one != two
    assert max(len(one), len(two)) <= 127
    assert "ns/name/tcp/web" in chain_name("svc", "ns/name/tcp/web")


def _random_table(dice: random.Random) -> Table:
    table = Table("inet t")
    for number in range(dice.randint(0, 4)):
        table.set(f"s{number}", "type ipv4_addr;", {f"10.0.0.{dice.randint(1, 9)}" for _ in range(5)})
    sets = list(table.sets)
    pods = []
    for number in range(dice.randint(0, 4)):
        rules = [f"ip saddr @{name} accept" for name in sets if dice.random() < 0.5]
        pods.append(table.chain(f"p{number}", [*rules, *(["drop"] if dice.random() < 0.5 else [])]))
    elements = {f'"if{n}"': f"jump {dice.choice(pods)}" for n in range(dice.randint(0, 4)) if pods}
    table.map("of", "type ifname : verdict;", elements)
    priority = dice.choice((0, 5))
    table.chain("forward", ["oifname vmap @of"], f"type filter hook forward priority {priority};")
    return Table("inet t") if dice.random() < 0.1 else table


@pytest.mark.parametrize("seed", range(6))
def test_the_kernel_follows_any_sequence_of_transitions(seed: int, tmp_path: Path) -> None:
    """After every step its ruleset equals one that was loaded afresh."""
    require_kernel()
    dice = random.Random(seed)
    script, old = [], None
    for step in range(12):
        new = _random_table(dice)
        current = tmp_path / f"step{step}"
        current.write_text(transition(old, new))
        fresh = tmp_path / f"fresh{step}"
        fresh.write_text(transition(None, new))
        listing = "nft -s list ruleset | sort"
        script.append(f"nft -f {current}; {listing} > {current}.got")
        script.append(f"unshare -n sh -c 'nft -f {fresh}; {listing} > {current}.want'")
        old = new
    shell = shutil.which("sh")
    assert shell
    command = ["unshare", "-n", shell, "-ec", "\n".join(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for got in sorted(tmp_path.glob("*.got")):
        assert got.read_text() == got.with_suffix(".want").read_text(), got.stem
