# SPDX-License-Identifier: Apache-2.0
"""What an agent can be asked beside probes: round trips, transfers, many connections, HTTP sessions.

Each function is one operation of the agent with typed arguments and a typed answer. A SessionLost means that
nothing is known; what the network did is always a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_cniconformance.probe.session import AgentError, AgentSession

if TYPE_CHECKING:
    from collections.abc import Sequence


def round_trips(agent: AgentSession, host: str, port: int, count: int) -> list[float | None]:
    """Return ``count`` round trips on one connection, in microseconds; None for one without answer."""
    answer = agent.request("rtt", host=host, port=port, n=count, timeout=30.0 + count)
    return [None if sample is None else float(sample) for sample in answer["samples"]]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A bulk transfer: whether every byte arrived as it was sent, else why not."""

    intact: bool
    moved: int
    error: str = ""


def transfer(
    agent: AgentSession, host: str, port: int, size: int, *, down: bool = False, wait_ms: int = 5000
) -> Transfer:
    """Send (or with ``down`` fetch) ``size`` bytes and compare their SHA-256."""
    try:
        answer = agent.request(
            "stream",
            host=host,
            port=port,
            bytes=size,
            direction="down" if down else "up",
            wait=wait_ms,
            timeout=60.0,
        )
    except AgentError as error:
        return Transfer(False, 0, str(error))
    wrong = "" if answer["intact"] else f"{answer['bytes']} of {size} bytes, or another hash"
    return Transfer(bool(answer["intact"]), answer["bytes"], wrong)


@dataclass(frozen=True, slots=True)
class Connections:
    """Many connections at once: who answered how often, and what became of the others."""

    responders: dict[str, int]
    failed: dict[str, int]
    causes: dict[str, int] = field(default_factory=dict)
    """Why they failed, where there is more to say than the verdict."""
    starved: bool = False
    """Whether some failed while the prober was short of processor, so that their silence proves nothing."""

    @property
    def ok(self) -> int:
        """How many were answered."""
        return sum(self.responders.values())


def connect_many(
    agent: AgentSession, host: str, port: int, count: int, *, wait_ms: int = 3000, parallel: int = 256
) -> Connections:
    """Open ``count`` fresh TCP connections, ``parallel`` at a time, and talk on each."""
    answer = agent.request(
        "connect_many", host=host, port=port, n=count, w=wait_ms, parallel=parallel, timeout=30.0 + count
    )
    failed = {verdict: n for verdict, n in answer["verdicts"].items() if verdict != "open"}
    starved = bool(failed) and answer.get("lag", 0.0) > wait_ms / 4
    return Connections(dict(answer.get("responders", {})), failed, dict(answer["causes"]), starved)


@dataclass(frozen=True, slots=True)
class HeldFlow:
    """What became of a flow so far: exchanges sent and answered, who answered last, and why it ended, if it did."""

    sent: int
    answered: int
    ended: str
    last: str
    responders: dict[str, int]
    events: tuple[tuple[float, str, str], ...]
    """Changes as (milliseconds since the start, ``up`` or ``down``, cause)."""


class Hold:
    """A flow that an agent keeps going until :meth:`stop`; see :func:`hold`."""

    def __init__(self, agent: AgentSession, number: int) -> None:
        self._agent = agent
        self._number = number

    def status(self) -> HeldFlow:
        """Return what was seen so far."""
        return self._ask("hold_status")

    def stop(self) -> HeldFlow:
        """End the flow and return what was seen."""
        return self._ask("hold_stop")

    def _ask(self, op: str) -> HeldFlow:
        a = self._agent.request(op, hold=self._number)
        events = tuple((float(at), str(state), str(cause)) for at, state, cause in a["events"])
        return HeldFlow(a["sent"], a["answered"], a["ended"], a["last"], dict(a["responders"]), events)


def hold(
    agent: AgentSession,
    host: str,
    port: int,
    protocol: str = "TCP",
    *,
    fresh: bool = False,
    interval_ms: int = 20,
    patience_ms: int = 1000,
) -> Hold:
    """Keep one flow going (with ``fresh``, a new connection each time): one exchange per interval.

    ``host`` is an IP address. An exchange that stays unanswered for ``patience_ms`` is noted as an outage; a UDP
    flow keeps its source port.
    """
    answer = agent.request(
        "hold",
        host=host,
        port=port,
        proto=protocol,
        fresh=fresh,
        interval=interval_ms,
        patience=patience_ms,
    )
    return Hold(agent, answer["hold"])


def host_port(agent: AgentSession, protocol: str = "TCP") -> int:
    """Return a port that the pod's own server listens on, for host-network pods whose ports the kernel chose."""
    ports: list[tuple[str, int]] = agent.request("ports")["ports"]
    return next(int(port) for name, port in ports if name == protocol)


@dataclass(frozen=True, slots=True)
class Echoes:
    """Answers to ICMP echo requests: how many of those sent, their round trips, and an ICMP error if one came."""

    sent: int
    microseconds: tuple[int, ...]
    cause: str = ""

    @property
    def answered(self) -> bool:
        """Whether any request was answered."""
        return bool(self.microseconds)

    def __str__(self) -> str:
        cause = f" ({self.cause})" if self.cause else ""
        return f"{len(self.microseconds)} of {self.sent} echo requests answered{cause}"


def echo(agent: AgentSession, host: str, *, count: int = 3, wait_ms: int = 300) -> Echoes:
    """Send ICMP echo requests to an IP address.

    Raises:
        AgentError: the pod may not ping (``PermissionError``), so that nothing is known of the network.
    """
    timeout = 10.0 + count * wait_ms / 1000
    answer = agent.request("echo", host=host, n=count, wait=wait_ms, timeout=timeout)
    return Echoes(answer["sent"], tuple(answer["us"]), answer["cause"])


def listen(agent: AgentSession, port: int = 0, protocol: str = "TCP") -> int:
    """Let the agent serve on one more port for as long as its session lasts, and return it (0: a free one).

    Raises:
        AgentError: the port is taken, or the kernel lacks the protocol.
    """
    return int(agent.request("listen", port=port, proto=protocol)["port"])


def addresses(agent: AgentSession) -> tuple[str, ...]:
    """Return the prober's own addresses."""
    return agent.open().ips


def http_session(
    agent: AgentSession, host: str, port: int, requests: Sequence[tuple[str, str]]
) -> tuple[list[int], str]:
    """Send (method, path) requests one after another on one connection; return the statuses and an error."""
    answer = agent.request(
        "http_session", host=host, port=port, requests=[list(r) for r in requests], wait=3000
    )
    return list(answer["statuses"]), str(answer.get("cause", ""))


@dataclass(frozen=True, slots=True)
class LinkOwners:
    """Who answers for an address on a link, by hardware addresses.

    ``error`` says why nobody could be asked. ``remembered`` is the one that the prober's kernel has learnt and sends
    to, which may have ceased to answer.
    """

    owners: tuple[str, ...]
    error: str = ""
    remembered: str = ""


def link_owners(agent: AgentSession, host: str, *, wait_ms: int = 1000) -> LinkOwners:
    """Ask the prober's link who has the address ``host``."""
    answer = agent.request("owners", host=host, wait=wait_ms)
    return LinkOwners(tuple(answer["owners"]), answer["error"], answer["remembered"])
