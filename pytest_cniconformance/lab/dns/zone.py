# SPDX-License-Identifier: Apache-2.0
"""The zone of the cluster: from a question to an answer, NXDOMAIN, or "ask upstream"."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dnslib import AAAA, CNAME, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A

from pytest_cniconformance.lab.dns.cluster import (
    Cluster,
    Endpoint,
    Key,
    Obj,
    Port,
    cluster_ips,
    external_name,
    is_headless,
    service_ports,
)

_ALIASES = 8
_MADE_UP = {4: "10.96.255.254", 6: "fd00:10:96::ff:fffe"}


@dataclass
class Answer:
    """What the zone says. ``rcode`` None means that the name is not ours: ask upstream."""

    rcode: int | None = RCODE.NOERROR
    records: list[RR] = field(default_factory=list)
    extra: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    follow: str = ""
    """Where a chain of aliases leaves the zone: to be resolved upstream and appended."""


class Zone:
    """Answers for ``domain`` and for the reverse names of what is in it."""

    def __init__(
        self,
        cluster: Cluster,
        domain: str,
        *,
        ttl: int = 5,
        faults: frozenset[str] = frozenset(),
        synced: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._domain = domain.strip(".").lower()
        self._ttl = ttl
        self._faults = faults
        self._synced = synced

    def answer(self, name: str, qtype: int, client: str = "") -> Answer:
        """Answer a question. ``name`` without final dot, in any case; ``client`` is who asks, for one fault."""
        plain = name if "dns-case-sensitive" in self._faults else name.lower()
        if plain == self._domain or plain.endswith("." + self._domain):
            if not self._synced():
                return Answer(RCODE.SERVFAIL)  # NXDOMAIN would be believed, and cached
            found = self._ours(name, plain, qtype, client)
            if not found.records and "dns-negative-without-soa" not in self._faults:
                found.authority = [self._soa()]
            if found.rcode == RCODE.NXDOMAIN and "dns-nxdomain-as-servfail" in self._faults:
                return Answer(RCODE.SERVFAIL)
            return found
        address = None if "dns-ptr-missing" in self._faults else _reverse(plain)
        if address is not None:
            names = list(self._names_of(address))
            if names:
                wanted = qtype in (QTYPE.PTR, QTYPE.ANY)
                return Answer(
                    records=[self._rr(name, PTR(target + ".")) for target in names] if wanted else []
                )
        return Answer(None)

    def _ours(self, name: str, plain: str, qtype: int, client: str) -> Answer:
        labels = plain[: -len(self._domain)].strip(".").split(".") if plain != self._domain else []
        if not labels:
            records = []
            if qtype in (QTYPE.SOA, QTYPE.ANY):
                records.append(self._soa())
            if qtype in (QTYPE.NS, QTYPE.ANY):
                records.append(self._rr(name, NS(f"ns.dns.{self._domain}.")))
            return Answer(records=records)
        if labels == ["dns-version"] and "dns-version-missing" not in self._faults:
            return Answer(records=[self._rr(name, TXT("1.1.0"))] if qtype in (QTYPE.TXT, QTYPE.ANY) else [])
        if labels[-1] == "svc":
            return self._service_name(name, labels[:-1], qtype, client)
        if labels[-1] == "pod" and "dns-pods-missing" not in self._faults:
            return self._pod_name(name, labels[:-1], qtype)
        return Answer(RCODE.NXDOMAIN)

    def _service_name(self, name: str, labels: list[str], qtype: int, client: str) -> Answer:
        """Names under ``svc``: ``[label | _port._proto].service.namespace``."""
        if not labels:
            return Answer()
        namespace = labels[-1]
        if "dns-nxdomain-cross-namespace" in self._faults:
            own = self._cluster.namespace_of(client)
            if own and own != namespace:
                return Answer(RCODE.NXDOMAIN)
        if len(labels) == 1:
            return Answer() if self._cluster.has_namespace(namespace) else Answer(RCODE.NXDOMAIN)
        key = (namespace, labels[-2])
        service = self._cluster.service(*key)
        if service is None:
            return Answer(RCODE.NXDOMAIN)
        before = labels[:-2]
        if alias := external_name(service):
            if before or "dns-externalname-dropped" in self._faults:
                return Answer(RCODE.NXDOMAIN)
            return self._alias(name, alias, qtype, client)
        endpoints = self._cluster.endpoints(key) if is_headless(service) or before else []
        if not before:
            return self._whole_service(name, key, service, endpoints, qtype)
        if before[-1].startswith("_"):
            return self._ports_of(name, before, key, service, endpoints, qtype)
        if len(before) == 1 and is_headless(service):
            mine = [endpoint for endpoint in endpoints if endpoint.label.lower() == before[0]]
            if mine:
                return Answer(records=self._addresses(name, [endpoint.address for endpoint in mine], qtype))
        return Answer(RCODE.NXDOMAIN)

    def _whole_service(
        self, name: str, key: Key, service: Obj, endpoints: list[Endpoint], qtype: int
    ) -> Answer:
        if is_headless(service):
            if not endpoints:
                # "If there are no ready endpoints, the answer should be NXDOMAIN" (specification 2.4.1).
                return Answer(RCODE.NXDOMAIN)
            addresses = [endpoint.address for endpoint in endpoints]
            if "dns-headless-cluster-ip" in self._faults:
                addresses = sorted({_MADE_UP[ipaddress.ip_address(address).version] for address in addresses})
        else:
            addresses = cluster_ips(service)
            if "dns-wrong-service-address" in self._faults:
                addresses = self._others(key, addresses)
        if qtype == QTYPE.SRV:
            return self._srv(name, key, service, endpoints, service_ports(service))
        return Answer(records=self._addresses(name, addresses, qtype))

    def _others(self, key: Key, addresses: list[str]) -> list[str]:
        """Return the addresses of the next Service that has as many, or addresses next to the right ones."""
        candidates = [
            (other, cluster_ips(service))
            for other, service in self._cluster.services()
            if other != key and len(cluster_ips(service)) == len(addresses)
        ]
        later = [found for other, found in candidates if other > key]
        if later or candidates:
            return later[0] if later else candidates[0][1]
        return [str(ipaddress.ip_address(address) + 1) for address in addresses]

    def _ports_of(
        self, name: str, labels: list[str], key: Key, service: Obj, endpoints: list[Endpoint], qtype: int
    ) -> Answer:
        """Names ``_port._proto.service…``; ``_proto.service…`` exists only as their parent."""
        protocol = labels[-1].removeprefix("_")
        ports = [port for port in service_ports(service) if port.name and port.protocol == protocol]
        if len(labels) == 1:
            return Answer() if ports else Answer(RCODE.NXDOMAIN)
        matching = [port for port in ports if f"_{port.name.lower()}" == labels[0]]
        if len(labels) != 2 or not matching or (is_headless(service) and not endpoints):
            return Answer(RCODE.NXDOMAIN)
        if qtype not in (QTYPE.SRV, QTYPE.ANY):
            return Answer()
        return self._srv(name, key, service, endpoints, matching)

    def _srv(self, name: str, key: Key, service: Obj, endpoints: list[Endpoint], ports: list[Port]) -> Answer:
        base = f"{key[1]}.{key[0]}.svc.{self._domain}"
        targets: list[tuple[str, int, str]] = []
        if is_headless(service):
            wanted = {(port.name, port.protocol) for port in ports}
            for endpoint in endpoints:
                target = f"{endpoint.label}.{base}"
                mine = [port for port in endpoint.ports if (port.name, port.protocol) in wanted]
                targets += [(target, port.number, endpoint.address) for port in mine]
        else:
            targets = [(base, port.number, address) for port in ports for address in cluster_ips(service)]
        if "dns-srv-wrong-port" in self._faults:
            targets = [(target, number + 1, address) for target, number, address in targets]
        weight = max(1, 100 // max(1, len({target for target, _, _ in targets})))
        records = {(target, number): SRV(0, weight, number, target + ".") for target, number, _ in targets}
        addresses = {(target, address): None for target, _, address in targets}
        return Answer(
            records=[self._rr(name, record) for record in records.values()],
            extra=[self._rr(target, _address(address)) for target, address in addresses],
        )

    def _alias(self, name: str, target: str, qtype: int, client: str) -> Answer:
        """Follow aliases as long as they stay in the zone."""
        target = target.rstrip(".")
        records = [self._rr(name, CNAME(target + "."))]
        if qtype == QTYPE.CNAME:
            return Answer(records=records)
        if self._depth(target) > _ALIASES:
            return Answer(RCODE.SERVFAIL)
        found = self.answer(target, qtype, client)
        if found.rcode is None:
            return Answer(records=records, follow=target)
        return Answer(found.rcode, records + found.records, found.extra, found.authority, found.follow)

    def _depth(self, target: str) -> int:
        """Return how many aliases lie ahead; more than are followed means a loop."""
        depth = 0
        while depth <= _ALIASES and target.lower().endswith(f".svc.{self._domain}"):
            labels = target.lower().removesuffix(f".svc.{self._domain}").split(".")
            service = self._cluster.service(labels[-1], labels[0]) if len(labels) == 2 else None
            if service is None or not external_name(service):
                break
            target = external_name(service).rstrip(".")
            depth += 1
        return depth

    def _pod_name(self, name: str, labels: list[str], qtype: int) -> Answer:
        """Names ``1-2-3-4.namespace.pod``: any address, unverified, like CoreDNS's ``pods insecure``."""
        if len(labels) != 2:
            return Answer() if len(labels) < 2 else Answer(RCODE.NXDOMAIN)
        text = labels[0]
        four = text.count("-") == 3 and "--" not in text
        try:
            address = str(ipaddress.ip_address(text.replace("-", "." if four else ":")))
        except ValueError:
            return Answer(RCODE.NXDOMAIN)
        return Answer(records=self._addresses(name, [address], qtype))

    def _names_of(self, address: str) -> Iterator[str]:
        for key, service in self._cluster.services():
            base = f"{key[1]}.{key[0]}.svc.{self._domain}"
            if address in cluster_ips(service):
                yield base
            elif is_headless(service):
                for endpoint in self._cluster.endpoints(key):
                    if endpoint.address == address:
                        yield f"{endpoint.label}.{base}"

    def _addresses(self, name: str, addresses: list[str], qtype: int) -> list[RR]:
        wanted = {QTYPE.A: (4,), QTYPE.AAAA: (6,), QTYPE.ANY: (4, 6)}.get(qtype, ())
        found = [address for address in addresses if ipaddress.ip_address(address).version in wanted]
        random.shuffle(found)
        return [self._rr(name, _address(address)) for address in found]

    def _rr(self, name: str, data: A | AAAA | CNAME | NS | PTR | SRV | TXT | SOA) -> RR:
        kind = getattr(QTYPE, type(data).__name__)
        return RR(name, kind, rdata=data, ttl=self._ttl)

    def _soa(self) -> RR:
        times = (1, 7200, 1800, 86400, self._ttl)
        return self._rr(self._domain, SOA(f"ns.dns.{self._domain}.", f"hostmaster.{self._domain}.", times))


def _address(text: str) -> A | AAAA:
    return A(text) if ipaddress.ip_address(text).version == 4 else AAAA(text)


def _reverse(name: str) -> str | None:
    """Return the address that a reverse name stands for."""
    if name.endswith(".in-addr.arpa"):
        octets = name.removesuffix(".in-addr.arpa").split(".")
        text = ".".join(reversed(octets))
    elif name.endswith(".ip6.arpa"):
        nibbles = name.removesuffix(".ip6.arpa").split(".")
        if len(nibbles) != 32:
            return None
        digits = "".join(reversed(nibbles))
        text = ":".join(digits[i : i + 4] for i in range(0, 32, 4))
    else:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
