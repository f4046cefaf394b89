# SPDX-License-Identifier: Apache-2.0
"""Names as pods see them: one question with its whole answer, many lookups, the resolver's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_cniconformance.probe.session import AgentSession


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record. ``value`` is text (addresses, names) or a list (SRV, SOA, TXT)."""

    name: str
    kind: str
    ttl: int
    value: Any


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The answer to one name: the response code, the records, and what went wrong if nothing came.

    ``rcode`` is empty where no answer came, and ``error`` says why; ``size`` is the answer's length in bytes.
    """

    rcode: str
    records: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    truncated: bool = False
    size: int = 0
    error: str = ""
    latency_ms: float | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The A and AAAA records, sorted."""
        return tuple(sorted(r.value for r in self.records if r.kind in ("A", "AAAA")))

    def values(self, kind: str) -> list[Any]:
        """Return the values of the records of a type, in the order of the answer."""
        return [record.value for record in self.records if record.kind == kind]

    @property
    def negative_ttl(self) -> int | None:
        """Seconds for which "no" may be remembered (RFC 2308 §5); None without an SOA record."""
        return next((min(r.ttl, r.value[4]) for r in self.authority if r.kind == "SOA"), None)

    def __str__(self) -> str:
        values = [str(record.value) for record in self.records]
        shown = values[:8] + ([f"… {len(values)} records"] if len(values) > 8 else [])
        return " ".join([self.rcode or self.error or "nothing", *shown, *(["truncated"] * self.truncated)])


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """A pod's ``/etc/resolv.conf``."""

    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int


@dataclass(frozen=True, slots=True)
class Lookups:
    """Many lookups: microseconds each (None: unanswered), lost answers by type, answers by response code.

    ``torn`` are those whose types were asked together, of which one was answered and another was not.
    """

    samples: tuple[float | None, ...]
    lost: dict[str, int]
    torn: int
    rcodes: dict[str, int]


def resolve(
    agent: AgentSession,
    name: str,
    kind: str = "A",
    *,
    wait_ms: int = 2000,
    server: str = "",
    port: int = 53,
    tcp: bool = False,
    edns: int = 0,
) -> DnsAnswer:
    """Resolve a name by hand along the pod's search path; a name that ends in a dot is absolute.

    ``server`` replaces the pod's own nameserver; ``edns`` offers datagrams of that size (bytes).
    """
    request: dict[str, Any] = {"name": name, "type": kind, "wait": wait_ms, "tcp": tcp, "edns": edns}
    if server:
        request |= {"server": server, "port": port}
    final = agent.request("resolve", **request)["final"]
    return DnsAnswer(
        final["rcode"],
        _records(final["answers"]),
        _records(final["authority"]),
        final["truncated"],
        final["size"],
        final.get("error", ""),
        final.get("us", 0) / 1000,
    )


def _records(entries: Sequence[dict[str, Any]]) -> tuple[Record, ...]:
    return tuple(Record(e["name"], e["type"], e["ttl"], e["value"]) for e in entries)


def resolver_config(agent: AgentSession) -> ResolverConfig:
    """Return what the pod's resolver is told."""
    config = agent.request("resolv_conf")
    return ResolverConfig(tuple(config["nameservers"]), tuple(config["search"]), config["ndots"])


def resolve_by_system(
    agent: AgentSession, name: str, *, wait_ms: int = 12000
) -> tuple[tuple[str, ...], float]:
    """Resolve as programs do (getaddrinfo, both families); return the addresses and the seconds it took."""
    answer = agent.request("resolve", name=name, via="system", wait=wait_ms)
    return tuple(answer["addresses"]), answer["us"] / 1e6


def lookups(
    agent: AgentSession,
    name: str,
    count: int,
    *,
    types: Sequence[str] = ("A",),
    parallel: int = 1,
    wait_ms: int = 2000,
) -> Lookups:
    """Look an absolute name up many times; several types go out of one socket at once, as C libraries do it."""
    answer = agent.request(
        "lookups",
        name=name,
        n=count,
        types=list(types),
        parallel=parallel,
        wait=wait_ms,
        timeout=30.0 + count * wait_ms / 1000,
    )
    return Lookups(tuple(answer["samples"]), answer["lost"], answer["torn"], answer["rcodes"])
