# SPDX-License-Identifier: Apache-2.0
"""The matrix over pods: observe its cells with proof that every server lives, and wait until it settles."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

from pytest_cniconformance.model.matrix import Cell, Expectation, Mismatch, compare
from pytest_cniconformance.model.verdict import Observation, Probe, Protocol, Verdict

if TYPE_CHECKING:
    from pytest_cniconformance.probe.fleet import Fleet
    from pytest_cniconformance.probe.window import Window

PACE = 0.02
"""Seconds from the start of one round to the next, at least: the resolution of convergence times.

Without it a policy that never takes effect would be polled by a busy loop that takes the processor from the
very dataplane it waits for. From the second second on it is 2 % of the time waited so far.
"""

HOLD_PACE = 0.1
"""The same for rounds that see whether an agreement holds."""

HASTE = 3
"""How much shorter than the window of a verdict those are that only look for the moment of agreement."""


@dataclass(frozen=True, slots=True)
class Target:
    """A destination: its address per family, and who must answer there.

    ``responder`` is the identity that must answer (None: anyone may). ``prover`` names the agent of the fleet that
    shares the destination's network stack and proves its servers alive; None leaves denials unproven, which
    :attr:`Observation.extra` then says (``vouched: False``). ``ports`` maps a cell's port to the one to dial, for
    Services and host-network pods with ports of their own choice. ``talk`` is False for servers not ours.
    """

    addresses: Mapping[str, str]
    responder: str | None = None
    prover: str | None = None
    ports: Mapping[tuple[int, Protocol], int] = field(default_factory=dict)
    talk: bool = True
    own: Mapping[str, str] | None = None
    """The prover's own addresses, where ``addresses`` are those of a Service: a proof asks the server itself."""
    own_ports: Mapping[tuple[int, Protocol], int] = field(default_factory=dict)
    """Where the server itself listens, for cells that name the Service's port and not the server's."""

    @classmethod
    def pod(cls, name: str, addresses: Mapping[str, str]) -> Target:
        """Return the target for a probe pod ``namespace/name`` whose own agent is in the fleet."""
        return cls(addresses, responder=name, prover=name)


@dataclass(frozen=True, slots=True)
class Settled:
    """How a matrix came to agree with the expectation, or did not.

    ``seconds`` since the change (``since``) is when the last cell came to agree, None if one never did. ``unstable``
    agreed once and then did not.
    """

    observed: dict[Cell, Observation]
    mismatches: tuple[Mismatch, ...]
    rounds: int
    seconds: float | None
    unstable: tuple[Cell, ...] = ()

    @property
    def agreed(self) -> bool:
        """Whether the confirming round agreed in full."""
        return not self.mismatches


_Server = tuple[str, int, Protocol, str]


class PodMatrix:
    """Observes cells between probers (names in the fleet) and destinations.

    ``targets`` maps a cell's destination to its :class:`Target`; a destination that is not in it is dialled as it
    is written (an IP address or a DNS name).
    """

    def __init__(self, fleet: Fleet, targets: Mapping[str, Target], *, window: Window) -> None:
        self._fleet = fleet
        self._targets = dict(targets)
        self.window = window

    def observe(self, cells: Iterable[Cell], *, window: Window | None = None) -> dict[Cell, Observation]:
        """Probe the cells once, all sources together, and return what was found; ``window`` in place of the run's.

        Every server that a cell asks proves itself in the same round, from within its own pod, and again after
        the round if someone was denied. A denial by a server without that proof is a ``probe-error``. Where a pod
        that asks its own address gets no answer, its loopback address tells that loss from a dead server.
        """
        wanted = list(dict.fromkeys(cells))
        window = window or self.window
        observed, slow = self._round(wanted, window)
        if slow:
            # A server that was short of processor: one more chance, or the whole check would be an error.
            again, _ = self._round(slow, window)
            observed.update(again)
        return observed

    def _round(self, cells: list[Cell], window: Window) -> tuple[dict[Cell, Observation], list[Cell]]:
        servers = dict.fromkeys(server for cell in cells if (server := self._server(cell)) is not None)
        probes = [self._probe(cell) for cell in cells] + [self._proof(server) for server in servers]
        found = self._fleet.probe(probes, window=window)
        observed = dict(zip(cells, found, strict=False))
        proofs = dict(zip(servers, found[len(cells) :], strict=True))
        denied = [cell for cell in cells if observed[cell].verdict.denied]
        suspects = dict.fromkeys(server for cell in denied if (server := self._server(cell)) is not None)
        own = [cell for cell in cells if observed[cell].verdict is not Verdict.OPEN and self._is_own(cell)]
        again = [self._proof(server) for server in suspects] + [self._loopback(cell) for cell in own]
        answers = self._fleet.probe(again, window=window)
        later = dict(zip(suspects, answers, strict=False))
        lost = {
            cell
            for cell, proof in zip(own, answers[len(suspects) :], strict=True)
            if _prompt(proof, window) and not observed[cell].responder
        }
        for cell in lost:
            cause = f"its loopback address answered: {observed[cell].cause or observed[cell].verdict}"
            observed[cell] = replace(observed[cell], verdict=Verdict.DROPPED, cause=cause)
        slow = []
        for cell in denied:
            server = self._server(cell)
            if cell in lost:
                continue
            if server is None:
                if cell.destination not in self._targets or not self._targets[cell.destination].prover:
                    extra = observed[cell].extra | {"vouched": False}
                    observed[cell] = replace(observed[cell], extra=extra)
                continue
            trouble, lame = "", False
            for proof in (proofs[server], later[server]):
                if proof.verdict is not Verdict.OPEN:
                    trouble = f"is dead: its own pod, asking its own address, got {proof}"
                elif not _prompt(proof, window) and not trouble:
                    trouble, lame = f"is starved: it answered its own pod only {proof}", True
            if trouble:
                if lame:
                    slow.append(cell)
                observed[cell] = replace(
                    observed[cell],
                    verdict=Verdict.PROBE_ERROR,
                    cause=f"seemed {observed[cell].verdict}, but the server of {cell.destination} on "
                    f"{cell.port}/{cell.protocol} {trouble}",
                )
        return observed, slow

    def _server(self, cell: Cell) -> _Server | None:
        target = self._targets.get(cell.destination)
        if target is None or not target.prover:
            return None
        return (cell.destination, cell.port, cell.protocol, cell.family)

    def _is_own(self, cell: Cell) -> bool:
        """Whether a pod asks itself by its own address."""
        target = self._targets.get(cell.destination)
        return target is not None and target.prover == cell.source and target.own is None

    def _loopback(self, cell: Cell) -> Probe:
        """Return the question whether the server of a cell that a pod asks of itself listens at all."""
        return replace(self._probe(cell), host="::1" if cell.family == "ipv6" else "127.0.0.1")

    def _probe(self, cell: Cell) -> Probe:
        target = self._targets.get(cell.destination) or Target({cell.family: cell.destination}, talk=False)
        # A missing address becomes a name that cannot resolve: the agent says dns-failed, which agrees with nothing.
        host = target.addresses.get(cell.family, f"no-{cell.family}-address.invalid")
        return Probe(
            cell.source,
            host,
            target.ports.get((cell.port, cell.protocol), cell.port),
            cell.protocol,
            talk=target.talk,
            expect_responder=target.responder,
        )

    def _proof(self, server: _Server) -> Probe:
        destination, port, protocol, family = server
        prover = self._targets[destination].prover or destination
        proof = self._probe(Cell(prover, destination, port, protocol, family))
        own, own_port = self._targets[destination].own, self._targets[destination].own_ports
        if own is None:
            return proof
        return replace(proof, host=own.get(family, proof.host), port=own_port.get((port, protocol), port))

    def settle(
        self,
        expected: Mapping[Cell, Expectation],
        *,
        deadline: float,
        since: float | None = None,
        hold: float | None = 0.0,
    ) -> Settled:
        """Probe until the matrix agrees with ``expected``, then confirm that with one full round or more.

        ``deadline`` is in seconds from ``since``, the ``time.monotonic()`` of the change (default: now). Only cells
        that disagree are asked again, and in short windows: these find the moment of agreement. The verdict is that
        of full rounds in full windows, which follow until one of them ends ``hold`` seconds or more after the first
        agreement; with ``hold`` None, for cells that must be open, there is none. A confirmation that fails resumes
        the wait in full windows, and so does a prober or server that cannot vouch for itself in short ones: haste
        costs no certainty. Cells that disagree get a full window at least once, whatever the deadline.
        """
        start = monotonic() if since is None else since
        pause = threading.Event()
        window = short = self.window.shortened(HASTE)
        observed: dict[Cell, Observation] = {}
        agreed_at: dict[Cell, float] = {}
        unstable: dict[Cell, None] = {}
        rounds = 0
        open_cells = list(expected)
        agreed: float | None = None
        while True:
            began = monotonic()
            fresh = self.observe(open_cells, window=window)
            rounds += 1
            observed.update(fresh)
            for cell in open_cells:
                if not expected[cell].accepts(fresh[cell]):
                    if agreed_at.pop(cell, None) is not None:
                        unstable[cell] = None
                elif cell not in agreed_at:
                    latency = fresh[cell].latency_ms if fresh[cell].verdict is Verdict.OPEN else 0.0
                    agreed_at[cell] = began - start + (latency or 0.0) / 1000
            wrong = [cell for cell in expected if cell not in agreed_at]
            now = monotonic()
            if wrong:
                agreed = None
            elif hold is None:
                break
            elif agreed is None:
                agreed = now
            elif now - agreed >= hold:
                break
            open_cells = wrong or list(expected)
            late = now - start >= deadline
            if wrong and late and window is not short:
                if any(fresh[cell].verdict is Verdict.PROBE_ERROR for cell in wrong):
                    # Why a prober or server cannot vouch for itself may show on cells that agreed before it happened.
                    observed.update(self.observe([cell for cell in expected if cell not in wrong]))
                break
            if (
                unstable
                or late
                or not wrong
                or any(fresh[cell].verdict is Verdict.PROBE_ERROR for cell in wrong)
            ):
                window = self.window
            # The first confirmation follows at once; those that only pass the time leave the processor to others.
            again = max(PACE, (now - start) / 50) if wrong else HOLD_PACE if now != agreed else 0.0
            if (remaining := again - (now - began)) > 0:
                pause.wait(remaining)
        return Settled(
            observed={cell: observed[cell] for cell in expected},
            mismatches=compare(expected, observed),
            rounds=rounds,
            seconds=max(agreed_at.values(), default=None) if len(agreed_at) == len(expected) else None,
            unstable=tuple(unstable),
        )


def _prompt(proof: Observation, window: Window) -> bool:
    """Whether a server answered its own pod at once: within a quarter of the window."""
    return proof.verdict is Verdict.OPEN and (proof.latency_ms or 0.0) <= window.seconds * 250
