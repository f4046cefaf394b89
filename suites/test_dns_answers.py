# SPDX-License-Identifier: Apache-2.0
"""How the cluster's DNS says no, how large its answers may be, and by which transport they come."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.names import ALL_SERVERS, RECORD, Names
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.model.failure import ConformanceFailure, Inconclusive

pytestmark = pytest.mark.dns

NEGATIVE = "https://www.rfc-editor.org/rfc/rfc2308"
TCP = "https://www.rfc-editor.org/rfc/rfc7766#section-5"
EDNS = "https://www.rfc-editor.org/rfc/rfc6891#section-6.2.6"
PLAIN, OFFERED = 512, 1232
"""Bytes of a datagram without EDNS (RFC 1035), and the size that resolvers offer since the DNS flag day 2020."""
ANSWERS = {"ipv4": 60, "ipv6": 36}
"""Records that fit into ``OFFERED`` bytes with compressed names, and not into ``PLAIN``."""
NEGATIVE_LIMIT = 60
"""Seconds of remembered absence above which a check stops waiting: no cluster DNS is configured so."""


@pytest.mark.smoke
@requirement("DNS-NXDOMAIN", feature="dns/negative", source="https://www.rfc-editor.org/rfc/rfc8020")
def test_a_name_that_does_not_exist_is_nxdomain(cni_names: Names) -> None:
    """A Service that does not exist answers NXDOMAIN, neither SERVFAIL nor silence."""
    cni_names.expect_code("x/a", cni_names.missing("no-such-service"), "NXDOMAIN")


@requirement("DNS-NODATA", feature="dns/families", source="https://www.rfc-editor.org/rfc/rfc4074#section-3")
def test_a_name_without_address_of_a_family_is_an_empty_answer(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """A single-stack Service answers the other family's record type with NOERROR and nothing, at once."""
    service = cni_services.create(
        "dns-nodata", {"pod": "b"}, [port(8000, 80)], namespace="y", ipFamilyPolicy="SingleStack"
    )
    other = next(kind for kind in RECORD.values() if kind != cni_names.kind)
    cni_names.expect("x/a", f"{service.fqdn}.", {service.cluster_ip})
    for pod in cni_grid.one_per_node():
        cni_names.expect(pod.key, f"{service.fqdn}.", [], other)


@requirement("DNS-CASE", feature="dns/service", source="https://www.rfc-editor.org/rfc/rfc4343")
def test_names_are_compared_without_case(cni_services: Services, cni_names: Names) -> None:
    """A name in mixed case has the same answer: resolvers randomise the case against forged answers."""
    service = cni_services.create("dns-case", {"pod": "b"}, [port(8000, 80)], namespace="y")
    cni_names.expect("x/a", f"{service.fqdn}.".swapcase(), {service.cluster_ip})


@requirement("DNS-NEGATIVE-SOA", feature="dns/negative", source=NEGATIVE + "#section-3")
def test_a_negative_answer_says_how_long_it_holds(cni_names: Names) -> None:
    """NXDOMAIN comes with the zone's SOA record, which bounds how long it may be remembered."""
    answer = cni_names.expect_code("x/a", cni_names.missing("no-such-soa"), "NXDOMAIN")
    if answer.negative_ttl is None:
        raise ConformanceFailure(
            f"{answer} without SOA in its authority section: how long it holds is unknown"
        )


@requirement("DNS-NEGATIVE-TTL", feature="dns/negative", source=NEGATIVE + "#section-5")
def test_a_new_service_is_not_hidden_by_an_earlier_no(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """A name that was NXDOMAIN resolves, once its Service exists, no later than the answer said it would hold."""
    name = cni_names.missing("dns-negative")
    answer = cni_names.expect_code("x/a", name, "NXDOMAIN", repeats=ALL_SERVERS)
    holds = answer.negative_ttl or 0
    if holds > NEGATIVE_LIMIT:
        raise Inconclusive(f"absence may be remembered for {holds} s, longer than this check waits")
    service = cni_services.create("dns-negative", {"pod": "b"}, [port(8000, 80)], namespace="x")

    def wrong() -> str | None:
        for _ in range(ALL_SERVERS):
            answer = cni_names.ask("x/a", name)
            if answer.addresses != (service.cluster_ip,):
                return f"{name} still answered {answer}, absence holds {holds} s"
        return None

    cni_grid.eventually(
        "a name that did not exist before",
        wrong,
        deadline=holds + cni_grid.run.settings.timeouts.service_settle,
    )


@pytest.mark.smoke
@requirement("DNS-TCP", feature="dns/tcp", source=TCP)
def test_names_resolve_over_tcp(cni_grid: Grid, cni_services: Services, cni_names: Names) -> None:
    """From every node a Service's name resolves over TCP."""
    service = cni_services.create("dns-tcp", {"pod": "b"}, [port(8000, 80)], namespace="y")
    for pod in cni_grid.one_per_node():
        cni_names.expect(pod.key, f"{service.fqdn}.", {service.cluster_ip}, tcp=True)


@requirement("DNS-TRUNCATED", feature="dns/tcp", source=TCP)
def test_an_answer_too_large_says_so_and_comes_over_tcp(cni_services: Services, cni_names: Names) -> None:
    """An answer that exceeds a plain datagram comes truncated, marked so, and whole over TCP."""
    service, addresses = _large(cni_services, cni_names, "dns-truncated")
    cni_names.expect("x/a", f"{service.fqdn}.", addresses, tcp=True)
    answer = cni_names.ask("x/a", f"{service.fqdn}.")
    if answer.error:
        raise ConformanceFailure(f"{service.fqdn} over UDP: {answer.error}")
    if answer.size > PLAIN:
        raise ConformanceFailure(
            f"{answer.size} bytes came in a datagram although no more than {PLAIN} were offered"
        )
    if not answer.truncated:
        raise ConformanceFailure(
            f"{len(answer.records)} of {len(addresses)} records came over UDP and nothing said that some are missing"
        )


@requirement("DNS-EDNS", level=SHOULD, feature="dns/tcp", source=EDNS)
def test_a_large_answer_fits_into_an_offered_datagram(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """From every node an answer of about 1,000 bytes comes whole in one datagram where 1,232 bytes are offered."""
    service, addresses = _large(cni_services, cni_names, "dns-edns")
    for pod in cni_grid.one_per_node():
        cni_names.expect(pod.key, f"{service.fqdn}.", addresses, edns=OFFERED)


@requirement(
    "DNS-VERSION",
    level=SHOULD,
    feature="dns/version",
    source="https://github.com/kubernetes/dns/blob/master/docs/specification.md#22---record-for-schema-version",
)
def test_the_zone_tells_the_version_of_its_schema(cni_names: Names) -> None:
    """`dns-version.domain` has a TXT record with the version of the DNS specification."""
    answer = cni_names.expect_code("x/a", f"dns-version.{cni_names.domain}.", "NOERROR", "TXT")
    if not any(value[0].count(".") == 2 for value in answer.values("TXT")):
        raise ConformanceFailure(f"dns-version.{cni_names.domain} TXT answered {answer}")


def _large(services: Services, names: Names, name: str) -> tuple[LiveService, list[str]]:
    """Create a headless Service whose answer fills about 1,000 bytes."""
    service = services.create(name, None, [port(80)], namespace="y", clusterIP="None")
    addresses = names.made_up(ANSWERS[names.family])
    names.endpoints(service, [{"addresses": [address]} for address in addresses])
    return service, addresses
