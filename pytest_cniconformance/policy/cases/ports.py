# SPDX-License-Identifier: Apache-2.0
"""Which ports a rule matches: none named, one entry of every form, and two entries side by side.

Every pod serves 80, 81 and 82 over TCP, UDP and, where the kernel has it, SCTP; the container ports are named
``serve-80-tcp`` and so on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_cniconformance.policy.builders import Obj, peer, port, rule
from pytest_cniconformance.policy.cases.case import API, Case, single
from pytest_cniconformance.policy.cases.shapes import SCTP, SIDES, TCP, UDP, Side, ask, policy

KEP_2079 = (
    "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/2079-network-policy-port-range"
)
PORTS, RANGES, NAMES = "networkpolicy/ports", "networkpolicy/endport", "networkpolicy/named-ports"
NEAR_AND_FAR = ("x/b", "y/b")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``ports``: its short name, the words for it, the object."""

    name: str
    words: str
    port: Obj

    @property
    def feature(self) -> str:
        """The feature that the entry uses."""
        if self.port.get("protocol") == SCTP:
            return "networkpolicy/sctp"
        if "endPort" in self.port:
            return RANGES
        return NAMES if isinstance(self.port.get("port"), str) else PORTS


def plain() -> Iterator[Entry]:
    """Yield every protocol, and none, with every form of port: none, a number, a name."""
    for number in (80, 81):
        yield Entry(f"{number}", f"{number} without protocol", port(number, None))
    yield Entry("name80", "the name of 80/TCP without protocol", port("serve-80-tcp", None))
    for protocol in (TCP, UDP, SCTP):
        low = protocol.lower()
        yield Entry(f"{low}", f"every port of {protocol}", port(None, protocol))
        for number in (80, 81):
            yield Entry(f"{low}{number}", f"{number}/{protocol}", port(number, protocol))
            named = port(f"serve-{number}-{low}", protocol)
            yield Entry(f"{low}-name{number}", f"the name of {number}/{protocol}", named)


def ranges() -> Iterator[Entry]:
    """Yield a range that ends before the last port, and one that begins after the first, per protocol."""
    for protocol, (first, last) in itertools.product((TCP, UDP, SCTP), ((80, 81), (81, 82))):
        entry = port(first, protocol, end=last)
        yield Entry(f"{protocol.lower()}{first}to{last}", f"{first} to {last}/{protocol}", entry)


def odd() -> Iterator[Entry]:
    """Yield entries that match no port of any pod: the pod stays isolated all the same."""
    yield Entry("unknown-name", "a name that no container port has", port("no-such-port", TCP))
    yield Entry("name-of-udp", "the name of a UDP port, over TCP", port("serve-81-udp", TCP))
    yield Entry("unserved", "a number that nobody serves", port(7, TCP))


def none() -> Iterator[Case]:
    """Yield rules that name somebody and no port."""
    for side in SIDES:
        yield single(
            f"NP-C-port-none-{side}",
            f"A rule without ports holds for all ports and protocols: {side} {side.word} namespace y",
            "ports-0",
            PORTS,
            ask(side, ("x/a",), NEAR_AND_FAR, (80, 81, 82), (TCP, UDP, SCTP)),
            policy(side, [rule([peer(namespaces={"ns": "y"})])]),
        )


def one() -> Iterator[Case]:
    """Yield one entry in a rule for everybody."""
    for side in SIDES:
        for entry in (*plain(), *ranges(), *odd()):
            yield _case(side, "port", "ports-1", "One port entry", entry)
        empty = Entry("empty", "an empty entry, which is every port of TCP", {})
        yield _case(side, "port", "ports-1-empty", "One port entry", empty)


def two() -> Iterator[Case]:
    """Yield two entries, which are alternatives, each with its own protocol."""
    known = {entry.name: entry for entry in (*plain(), *ranges())}
    pairs = (
        ("tcp80", "tcp81"),
        ("tcp80", "udp80"),
        ("tcp80", "udp81"),
        ("tcp", "udp80"),
        ("tcp-name80", "tcp81"),
        ("tcp80to81", "udp81to82"),
        ("tcp80", "sctp80"),
    )
    for side, names in itertools.product(SIDES, pairs):
        yield _case(side, "ports", "ports-2", "Two port entries", *(known[name] for name in names))


def _case(side: Side, prefix: str, axis: str, what: str, *entries: Entry) -> Case:
    numbers = (80, 81, 82) if any("endPort" in entry.port for entry in entries) else (80, 81)
    words = " and ".join(entry.words for entry in entries)
    only_sctp = all(entry.port.get("protocol") == SCTP for entry in entries)
    features = {entry.feature for entry in entries}
    return single(
        f"NP-C-{prefix}-{'.'.join(entry.name for entry in entries)}-{side}",
        f"{what}, {side}: {words}",
        axis,
        next(f for f in ("networkpolicy/sctp", RANGES, NAMES, PORTS) if f in features),
        ask(side, ("x/a",), NEAR_AND_FAR, numbers, (TCP, UDP, SCTP)),
        policy(side, [rule(ports=[entry.port for entry in entries])]),
        source=KEP_2079 if RANGES in features else API,
        needs=frozenset({SCTP}) if only_sctp else frozenset(),
    )


def cases() -> Iterator[Case]:
    """Return the cases of this module."""
    yield from none()
    yield from one()
    yield from two()
