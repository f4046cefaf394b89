# SPDX-License-Identifier: Apache-2.0
"""Cluster DNS as pods see it: each answer told apart by its response code, not by a failed connection."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.probe.questions import DnsAnswer, resolve, resolve_by_system

pytestmark = pytest.mark.dns

LOOKUPS = 10
STALL_SECONDS = 2.5
"""Half the shortest default time-out of a resolver (5 s, resolv.conf(5)): what is above waited for a lost packet."""

DOCS = "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/"
SPEC = "https://github.com/kubernetes/dns/blob/master/docs/specification.md"


@requirement("DNS-SVC", feature="dns/service", source=SPEC)
def test_a_service_name_resolves_to_its_cluster_ip(cni_grid: Grid, cni_services: Services) -> None:
    """On every node the absolute name of a Service resolves to its cluster IP and nothing else."""
    service = cni_services.create("dns-svc", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    for pod in cni_grid.one_per_node():
        _answers(cni_grid, pod.key, f"{service.fqdn}.", {service.cluster_ip})


@requirement("DNS-XNS", feature="dns/search", source=DOCS + "#namespaces-of-services")
def test_a_service_of_another_namespace_resolves_by_its_short_name(
    cni_grid: Grid, cni_services: Services
) -> None:
    """`service.namespace` resolves from a pod of another namespace."""
    service = cni_services.create("dns-xns", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    _answers(cni_grid, "x/a", f"{service.name}.{service.namespace}", {service.cluster_ip})


@requirement("DNS-HEADLESS", feature="dns/headless", source=SPEC)
def test_a_headless_service_resolves_to_its_ready_pods(cni_grid: Grid, cni_services: Services) -> None:
    """A headless Service resolves to the addresses of all its ready pods."""
    service = cni_services.create(
        "dns-headless", {"ns-all": "y"}, [port(80)], namespace="y", clusterIP="None"
    )
    for key in ("y/a", "y/b", "y/c"):
        cni_grid.relabel_for_check(key, {"ns-all": "y"})
    cni_services.wait_endpoints(service.name, "y", 3)
    _answers(cni_grid, "x/a", f"{service.fqdn}.", {cni_grid.pod(f"y/{name}").ip for name in "abc"})


@requirement("DNS-SEARCH", feature="dns/search", source=DOCS + "#namespaces-of-services")
def test_a_service_of_the_same_namespace_resolves_by_its_name_alone(
    cni_grid: Grid, cni_services: Services
) -> None:
    """A bare Service name resolves in its own namespace through the pod's search list."""
    service = cni_services.create("dns-search", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    _answers(cni_grid, "y/a", service.name, {service.cluster_ip})


@requirement("DNS-NXDOMAIN", feature="dns/negative", source="https://www.rfc-editor.org/rfc/rfc8020")
def test_a_name_that_does_not_exist_is_nxdomain(cni_grid: Grid) -> None:
    """A Service that does not exist answers NXDOMAIN, neither SERVFAIL nor silence."""
    name = f"no-such-service.{cni_grid.topology.real('x')}.svc.{cni_grid.facts.cluster_domain}."

    def wrong() -> str | None:
        answer = _resolve(cni_grid, "x/a", name)
        return None if answer.rcode == "NXDOMAIN" else f"{name} answered {answer}"

    cni_grid.eventually("a missing name", wrong)


@requirement("DNS-EXTERNALNAME", feature="dns/external-name", source=SPEC)
def test_an_external_name_service_is_an_alias(cni_grid: Grid, cni_services: Services) -> None:
    """An ExternalName Service resolves to the addresses of the name that it is an alias of."""
    target = cni_services.create("dns-target", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    alias = cni_services.create(
        "dns-alias", None, [port(8000)], namespace="x", type="ExternalName", externalName=target.fqdn
    )
    _answers(cni_grid, "x/a", f"{alias.fqdn}.", {target.cluster_ip})


@requirement(
    "DNS-STALL",
    level=SHOULD,
    feature="dns/latency",
    source="https://github.com/kubernetes/kubernetes/issues/56903",
)
def test_no_lookup_stalls(cni_grid: Grid, cni_services: Services) -> None:
    """No lookup by the system's resolver, A and AAAA in parallel, waits for a resolver timeout."""
    service = cni_services.create("dns-stall", {"pod": "b"}, [port(8000, 80)], namespace="y", endpoints=1)
    _answers(cni_grid, "x/a", f"{service.fqdn}.", {service.cluster_ip})
    for pod in cni_grid.one_per_node():
        for _ in range(LOOKUPS):
            found, seconds = resolve_by_system(cni_grid.agent(pod.key), service.fqdn)
            if seconds > STALL_SECONDS:
                raise ConformanceFailure(f"{service.fqdn} from {pod.key} took {seconds:.1f} s")
            if service.cluster_ip not in found:
                raise ConformanceFailure(
                    f"{service.fqdn} from {pod.key} answered {', '.join(found) or 'nothing'}"
                )


def _resolve(grid: Grid, source: str, name: str) -> DnsAnswer:
    return resolve(grid.agent(source), name, "AAAA" if grid.facts.families[0] == "ipv6" else "A")


def _answers(grid: Grid, source: str, name: str, expected: set[str]) -> None:
    """Assert that ``name`` resolves from ``source`` to exactly the expected addresses."""

    def wrong() -> str | None:
        answer = _resolve(grid, source, name)
        if answer.rcode == "NOERROR" and set(answer.addresses) == expected:
            return None
        return f"{name} from {source} answered {answer}, expected {', '.join(sorted(expected))}"

    grid.eventually(f"resolving {name}", wrong)
