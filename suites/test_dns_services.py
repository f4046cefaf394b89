# SPDX-License-Identifier: Apache-2.0
"""Names of Services as pods use them: short, absolute, across namespaces, aliases, and gone after deletion."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.names import ALL_SERVERS, Names
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.probe.names import resolve_by_system, resolver_config

pytestmark = pytest.mark.dns

DOCS = "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/"
NAMESPACES = DOCS + "#namespaces-of-services"
SPEC = "https://github.com/kubernetes/dns/blob/master/docs/specification.md"
API = "https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api"
NDOTS = 5
"""What the kubelet writes for dnsPolicy ClusterFirst."""


@pytest.mark.smoke
@requirement("DNS-SVC", feature="dns/service", source=SPEC)
def test_a_service_name_resolves_to_its_cluster_ip(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """On every node the absolute name of a Service resolves to its cluster IP and nothing else."""
    service = _service(cni_services, "dns-svc")
    for pod in cni_grid.one_per_node():
        cni_names.expect(pod.key, f"{service.fqdn}.", {service.cluster_ip})


@requirement("DNS-XNS", feature="dns/search", source=NAMESPACES)
def test_a_service_of_another_namespace_resolves_by_its_short_name(
    cni_services: Services, cni_names: Names
) -> None:
    """`service.namespace` resolves from a pod of another namespace."""
    service = _service(cni_services, "dns-xns")
    cni_names.expect("x/a", f"{service.name}.{service.namespace}", {service.cluster_ip})


@requirement("DNS-XNS-SVC", feature="dns/search", source=NAMESPACES)
def test_a_service_of_another_namespace_resolves_by_its_name_up_to_svc(
    cni_services: Services, cni_names: Names
) -> None:
    """`service.namespace.svc` resolves from a pod of another namespace."""
    service = _service(cni_services, "dns-xns-svc")
    cni_names.expect("x/a", f"{service.name}.{service.namespace}.svc", {service.cluster_ip})


@pytest.mark.smoke
@requirement("DNS-SEARCH", feature="dns/search", source=NAMESPACES)
def test_a_service_of_the_same_namespace_resolves_by_its_name_alone(
    cni_services: Services, cni_names: Names
) -> None:
    """A bare Service name resolves in its own namespace through the pod's search list."""
    service = _service(cni_services, "dns-search")
    cni_names.expect("y/a", service.name, {service.cluster_ip})


@requirement("DNS-SEARCH-OWN", feature="dns/search", source=NAMESPACES)
def test_a_bare_name_means_the_own_namespace_only(cni_services: Services, cni_names: Names) -> None:
    """A bare name never resolves to a Service of another namespace; one that exists there and here is the one here."""
    there = _service(cni_services, "dns-twin")
    cni_names.expect("y/a", "dns-twin", {there.cluster_ip})
    found = cni_names.ask("x/a", "dns-twin")
    if found.addresses:
        raise ConformanceFailure(f"dns-twin exists in namespace y only, but x/a was answered {found}")
    here = cni_services.create("dns-twin", {"pod": "b"}, [port(8000, 80)], namespace="z")
    cni_names.expect("z/a", "dns-twin", {here.cluster_ip})


@requirement(
    "DNS-ABSOLUTE", feature="dns/service", source="https://www.rfc-editor.org/rfc/rfc1034#section-3.1"
)
def test_an_absolute_name_resolves_for_programs(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """A program's getaddrinfo finds a Service by its absolute name, with the final dot and without."""
    service = _service(cni_services, "dns-absolute")
    cni_names.expect("x/a", f"{service.fqdn}.", {service.cluster_ip})
    for name in (f"{service.fqdn}.", service.fqdn):
        found, _ = resolve_by_system(cni_grid.agent("x/a"), name)
        if found != (service.cluster_ip,):
            raise ConformanceFailure(f"getaddrinfo of {name} in x/a gave {', '.join(found) or 'nothing'}")


@requirement("DNS-NDOTS", level=SHOULD, feature="dns/search", source=NAMESPACES)
def test_pods_search_their_namespace_first_and_with_five_dots(cni_grid: Grid) -> None:
    """Pods' resolv.conf lists namespace.svc.domain, svc.domain, domain in this order, and ndots:5."""
    domain, namespace = cni_grid.facts.cluster_domain, cni_grid.topology.real("x")
    config = resolver_config(cni_grid.agent("x/a"))
    wanted = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
    if [entry.rstrip(".") for entry in config.search[:3]] != wanted or config.ndots != NDOTS:
        raise ConformanceFailure(
            f"x/a searches {' '.join(config.search) or 'nothing'} with ndots:{config.ndots}, "
            f"expected {' '.join(wanted)} first and ndots:{NDOTS}"
        )


@requirement("DNS-HOSTNET", feature="dns/search", source=DOCS + "#pod-s-dns-policy")
def test_host_network_pods_resolve_services(cni_grid: Grid, cni_services: Services, cni_names: Names) -> None:
    """A hostNetwork pod with dnsPolicy ClusterFirstWithHostNet resolves a Service on every node."""
    service = _service(cni_services, "dns-hostnet")
    for agent in cni_grid.node_agents().values():
        cni_names.expect(agent.key, f"{service.name}.{service.namespace}.svc", {service.cluster_ip})


@requirement("DNS-API", feature="dns/service", source=API)
def test_the_api_servers_service_resolves(cni_grid: Grid, cni_names: Names) -> None:
    """`kubernetes.default.svc` resolves to the cluster IP of the API server's Service."""
    own = {ip for ip in cni_grid.facts.kubernetes_service_ips if (":" in ip) == (cni_names.family == "ipv6")}
    cni_names.expect("x/a", "kubernetes.default.svc", own)


@pytest.mark.smoke
@requirement("DNS-EXTERNALNAME", feature="dns/external-name", source=SPEC)
def test_an_external_name_service_is_an_alias(cni_services: Services, cni_names: Names) -> None:
    """An ExternalName Service resolves to the addresses of the name that it is an alias of."""
    target = _service(cni_services, "dns-target")
    alias = _alias(cni_services, "dns-alias", target.fqdn)
    cni_names.expect("x/a", f"{alias.fqdn}.", {target.cluster_ip})


@requirement("DNS-CNAME", feature="dns/external-name", source=SPEC)
def test_an_external_name_service_has_a_cname_record(cni_services: Services, cni_names: Names) -> None:
    """The CNAME record of an ExternalName Service names its target, whether that resolves or not."""
    alias = _alias(cni_services, "dns-cname", "no-such-host.invalid")
    cni_names.expect("x/a", f"{alias.fqdn}.", ["no-such-host.invalid."], "CNAME")


@requirement("DNS-DELETED", feature="dns/service", source=SPEC)
def test_a_deleted_services_name_ceases_to_exist(cni_services: Services, cni_names: Names) -> None:
    """The name of a Service that was deleted becomes NXDOMAIN."""
    service = _service(cni_services, "dns-deleted")
    cni_names.expect("x/a", f"{service.fqdn}.", {service.cluster_ip})
    cni_services.delete(service)
    cni_names.expect_code("x/a", f"{service.fqdn}.", "NXDOMAIN", repeats=ALL_SERVERS)


def _service(services: Services, name: str) -> LiveService:
    return services.create(name, {"pod": "b"}, [port(8000, 80)], namespace="y")


def _alias(services: Services, name: str, target: str) -> LiveService:
    return services.create(name, None, [port(8000)], namespace="x", type="ExternalName", externalName=target)
