# SPDX-License-Identifier: Apache-2.0
"""What the tables of the catalogue are written in: objects, connections, verdicts, and the check of one row."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pytest_cniconformance.policy import decide
from pytest_cniconformance.policy.builders import Obj, matching, network_policy, peer, port
from tests.policy.world import cluster

IN, EG = "Ingress", "Egress"
EXT = "203.0.113.7"
P80 = [port(80)]

DECISIONS = {"A": "allow", "D": "deny", "U": "unspecified"}
# What an explanation must at least say: the rule or the reason that allows, who isolates, what leaves it open.
SAYS = {
    "A": r"no policy isolates|rule \d+|always reaches itself|always enters|policies do not select",
    "D": r"isolates?\b.*no rule matches",
    "U": r"\(NP-[A-Z]+-\d\)|the backends differ|there is no connection to judge",
}


class Case(NamedTuple):
    id: str
    objs: list[Obj]
    expect: str
    """Lines ``source destination port[/protocol] verdict``; 80/TCP unless said."""

    def verify(self) -> None:
        """Assert every line of ``expect``."""
        state = cluster(*self.objs)
        for line in self.expect.splitlines():
            source, destination, *port_text, letter = line.split()
            number, _, protocol = (port_text[0] if port_text else "80").partition("/")
            ruling = decide(state, source, destination, int(number), protocol or "TCP")
            assert ruling.decision == DECISIONS[letter], f"{line}: {ruling}"
            for because in ruling.because:
                assert re.search(SAYS[letter], because), f"{line}: {ruling}"


def np(target: str, *, ingress: Any = None, egress: Any = None, types: Any = None, name: str = "p") -> Obj:
    where, _, pods = target.partition("/")
    return network_policy(
        name, where, {"pod": pods} if pods else {}, ingress=ingress, egress=egress, types=types
    )


def ns(name: str) -> Obj:
    return peer(namespaces={"ns": name})


def ns_expr(*expressions: Obj) -> Obj:
    return peer(namespaces=matching(*expressions))


def pods_expr(*expressions: Obj) -> Obj:
    return peer(matching(*expressions), {})
