# SPDX-License-Identifier: Apache-2.0
"""What one probe found: a verdict with its evidence, never a bare boolean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The outcome of one probe, told apart by what the network answered.

    A deny is only ever :attr:`REFUSED`, :attr:`DROPPED`, :attr:`UNREACHABLE` or :attr:`HTTP_DENIED`.
    :attr:`PROBE_ERROR` means that nothing is known: it satisfies no expectation.
    """

    OPEN = "open"
    """The responder answered (and, where it can, named itself)."""
    REFUSED = "refused"
    """RST, or an ICMP port-unreachable or admin-prohibited error."""
    DROPPED = "dropped"
    """Silence, proven by a control probe that succeeded meanwhile."""
    UNREACHABLE = "unreachable"
    """No route, host unreachable, network unreachable."""
    DNS_FAILED = "dns-failed"
    """The name did not resolve, so nothing is known of the path."""
    HTTP_DENIED = "http-denied"
    """An HTTP proxy on the path answered 403."""
    PROBE_ERROR = "probe-error"
    """The prober, its exec stream or its pod failed."""

    @property
    def denied(self) -> bool:
        """Whether this verdict is evidence that traffic did not get through."""
        return self in (Verdict.REFUSED, Verdict.DROPPED, Verdict.UNREACHABLE, Verdict.HTTP_DENIED)


class Protocol(StrEnum):
    """Transport protocols of the Kubernetes API (``v1.Protocol``)."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the network: whether ``source`` reaches ``host``:``port``.

    ``source`` names the prober (``namespace/pod`` or a vantage); ``host`` is an IP address or a DNS name.
    ``http`` turns the probe into an HTTP request: ``{"method": "GET", "path": "/", "headers": {...}}``.
    ``expect_responder`` is the identity (``namespace/pod``) that must answer; None accepts anyone.
    ``payload`` is the number of bytes sent and echoed back, for path MTU and bulk checks.
    ``talk`` is False for servers that are not ours (API server): the handshake alone counts as open.
    """

    source: str
    host: str
    port: int
    protocol: Protocol = Protocol.TCP
    http: dict[str, Any] | None = None
    payload: int = 0
    talk: bool = True
    label: str = ""
    expect_responder: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A verdict with its evidence.

    Times are milliseconds; ``at`` is seconds since the epoch on the prober's clock, ``attempts`` counts
    fresh connections (TCP) or datagrams (UDP). ``peer_seen`` is the
    source address and port that the responder saw: ``10.0.0.1:4711`` or ``[fd00::1]:4711``.
    """

    verdict: Verdict
    cause: str = ""
    latency_ms: float | None = None
    attempts: int = 0
    responder: str = ""
    peer_seen: str = ""
    http_status: int | None = None
    address: str = ""
    window_ms: float | None = None
    at: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def peer_ip(self) -> str:
        """The source address that the responder saw, without the port; empty if it told none."""
        host, _, _ = self.peer_seen.rpartition(":")
        return host.strip("[]")

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as builtins, empty fields left out."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", {}, 0.0)} | {
            "verdict": str(self.verdict)
        }

    def __str__(self) -> str:
        parts = [str(self.verdict)]
        if self.http_status is not None:
            parts.append(f"HTTP {self.http_status}")
        if self.attempts:
            parts.append(f"after {self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        if self.latency_ms is not None:
            parts.append(f"in {self.latency_ms:.1f} ms")
        if self.responder:
            parts.append(f"from {self.responder}")
        return " ".join(parts) + (f" ({self.cause})" if self.cause else "")
