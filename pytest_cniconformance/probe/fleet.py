# SPDX-License-Identifier: Apache-2.0
"""All agents of a run, asked at once: one request per source, however many cells it holds."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from pytest_cniconformance.model.failure import ClusterError
from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.model.verdict import Observation, Probe, Verdict
from pytest_cniconformance.probe.session import AgentSession, Greeting, SessionLost
from pytest_cniconformance.probe.transport import ExecOpener, ExecTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from pytest_cniconformance.probe.window import Window

_FIELDS = (
    "verdict",
    "cause",
    "latency_ms",
    "attempts",
    "responder",
    "peer_seen",
    "http_status",
    "address",
    "window_ms",
    "at",
    "extra",
)


class Fleet:
    """Named agent sessions. Thread-safe; a context manager that ends every agent it started."""

    def __init__(self, kube: ExecOpener | None = None, *, timeouts: Timeouts | None = None) -> None:
        self._kube = kube
        self._timeouts = timeouts or Timeouts()
        self._sessions: dict[str, AgentSession] = {}

    def add(self, name: str, factory: Callable[[], Transport]) -> AgentSession:
        """Register a prober under ``name``; its agent starts with the first request or :meth:`open`."""
        if name in self._sessions:
            raise ValueError(f"a prober named {name} is already in the fleet")
        session = AgentSession(name, factory, open_timeout=self._timeouts.exec_open)
        self._sessions[name] = session
        return session

    def add_pod(self, namespace: str, pod: str, *, container: str | None = None) -> AgentSession:
        """Register the agent of a pod under ``namespace/pod``, reached through exec."""
        kube = self._kube
        if kube is None:
            raise ValueError("this fleet has no Kubernetes client: give Fleet(kube) one, or use add()")
        return self.add(
            f"{namespace}/{pod}", lambda: ExecTransport(kube, namespace, pod, container=container)
        )

    def remove(self, *names: str) -> None:
        """End these agents and forget them; unknown names are ignored."""
        _at_once([s.close for name in names if (s := self._sessions.pop(name, None)) is not None])

    def close(self) -> None:
        """End all agents."""
        self.remove(*self._sessions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._sessions

    @property
    def names(self) -> tuple[str, ...]:
        """The probers, in the order they were added."""
        return tuple(self._sessions)

    def session(self, name: str) -> AgentSession:
        """Return the session of a prober. Raises :class:`ClusterError` for an unknown name."""
        try:
            return self._sessions[name]
        except KeyError:
            raise ClusterError(
                f"no prober named {name}; there are {', '.join(self._sessions) or 'none'}"
            ) from None

    def open(self, names: Iterable[str] | None = None) -> dict[str, Greeting]:
        """Start agents, all at a time, and return their greetings. Raises :class:`SessionLost` if one fails."""
        chosen = list(self._sessions if names is None else names)
        answers = _at_once([self.session(name).open for name in chosen])
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return dict(zip(chosen, answers, strict=True))

    def request(self, name: str, op: str, /, *, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """Ask one agent. Raises :class:`SessionLost` and :class:`AgentError`."""
        return self.session(name).request(op, timeout=timeout, **arguments)

    def request_all(
        self, requests: Mapping[str, tuple[str, Mapping[str, Any]]], *, timeout: float
    ) -> dict[str, dict[str, Any] | ClusterError]:
        """Ask many agents at once: ``{name: (op, arguments)}``. An agent that fails answers with its error."""
        self._start(requests)
        sent: list[tuple[str, Future[dict[str, Any]] | None]] = []
        for name, (op, arguments) in requests.items():
            session = self._sessions.get(name)
            sent.append((name, session.submit(op, **arguments) if session else None))
        end = monotonic() + timeout
        answers: dict[str, dict[str, Any] | ClusterError] = {}
        for name, future in sent:
            op, arguments = requests[name]
            try:
                if future is None:
                    raise SessionLost(f"no prober named {name}")
                answers[name] = self._sessions[name].finish(
                    future, op, timeout=max(0.1, end - monotonic()), **arguments
                )
            except ClusterError as error:
                answers[name] = error
            except KeyError:
                answers[name] = SessionLost(f"the prober {name} was removed while it was asked")
        return answers

    def _start(self, names: Iterable[str]) -> None:
        # Agents that do not run yet are started side by side; what fails here fails again, with its message, in submit.
        cold = [s for name in names if (s := self._sessions.get(name)) is not None and not s.running]
        if len(cold) > 1:
            _at_once([session.open for session in cold])

    def probe(self, probes: Sequence[Probe], *, window: Window) -> list[Observation]:
        """Return one observation per probe, in order. A prober that fails yields ``probe-error`` for its probes."""
        by_source: dict[str, list[int]] = {}
        for index, probe in enumerate(probes):
            by_source.setdefault(probe.source, []).append(index)
        requests = {
            source: ("probe", {"w": window.milliseconds, "cells": [_row(probes[i]) for i in indices]})
            for source, indices in by_source.items()
        }
        # The agent may resolve names (5 s), then repeat a doubtful batch twice with doubled windows, each of which
        # waits up to four windows for the answer on a standing connection.
        answers = self.request_all(requests, timeout=15 + 30 * window.seconds)
        found: list[Observation | None] = [None] * len(probes)
        for source, indices in by_source.items():
            answer = answers[source]
            if isinstance(answer, ClusterError):
                for index in indices:
                    found[index] = Observation(Verdict.PROBE_ERROR, cause=f"the prober failed: {answer}")
            else:
                for index, row in zip(indices, answer["r"], strict=True):
                    found[index] = _observation(row)
        return [observation for observation in found if observation is not None]


def _row(probe: Probe) -> list[Any]:
    options: dict[str, Any] = {}
    if probe.payload:
        options["l"] = probe.payload
    if not probe.talk:
        options["t"] = False
    if probe.http is not None:
        options["http"] = probe.http
    if probe.expect_responder:
        options["x"] = probe.expect_responder
    row: list[Any] = [probe.host, probe.port, str(probe.protocol)]
    return [*row, options] if options else row


def _observation(row: list[Any]) -> Observation:
    facts = dict(zip(_FIELDS, row, strict=False))
    facts["verdict"] = Verdict(facts["verdict"])
    if facts.get("latency_ms") is not None:
        facts["latency_ms"] /= 1000  # agents count microseconds
    facts["extra"] = facts.get("extra") or {}
    return Observation(**facts)


def _at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the calls side by side and return results or exceptions, in order."""

    def guarded(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return error

    if len(calls) < 2:
        return [guarded(call) for call in calls]
    with ThreadPoolExecutor(min(32, len(calls)), thread_name_prefix="fleet") as pool:
        return list(pool.map(guarded, calls))
