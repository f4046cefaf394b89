# SPDX-License-Identifier: Apache-2.0
"""Records beside a Service's address: its endpoints, their host names, ports, reverse names, and pods."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.backends import Backends
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.names import ALL_SERVERS, RECORD, Names
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.model.failure import ConformanceFailure, NotSupported

pytestmark = pytest.mark.dns

SPEC = "https://github.com/kubernetes/dns/blob/master/docs/specification.md"
HEADLESS = SPEC + "#24---records-for-a-headless-service"


@pytest.mark.smoke
@requirement("DNS-HEADLESS", feature="dns/headless", source=HEADLESS)
def test_a_headless_service_resolves_to_its_ready_pods(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """A headless Service resolves to the addresses of all its ready pods."""
    service = _over_pods(cni_grid, cni_services, "dns-headless", "abc")
    cni_names.expect("x/a", f"{service.fqdn}.", {cni_grid.pod(f"y/{name}").ip for name in "abc"})


@requirement("DNS-HEADLESS-READY", feature="dns/headless", source=HEADLESS)
def test_an_endpoint_that_is_not_ready_has_no_record(
    cni_grid: Grid, cni_services: Services, cni_names: Names, cni_backends: Backends
) -> None:
    """A headless Service's answer lists ready endpoints only, unless publishNotReadyAddresses asks for all."""
    ready, other = (cni_grid.pod(key).ip for key in ("y/a", "y/b"))
    service = _headless(cni_services, "dns-ready")
    entries: list[dict[str, Any]] = [
        {"addresses": [ready]},
        {"addresses": [other], "conditions": {"ready": False}},
    ]
    cni_names.endpoints(service, entries)
    cni_names.expect("x/a", f"{service.fqdn}.", {ready})
    # DNS may leave the field to the controller that writes the slices: this takes a pod and a selector.
    unready = cni_backends.add("y/unready", {"headless": "unready"}, gated=True)
    service = cni_services.create(
        "dns-unready",
        {"headless": "unready"},
        [port(80)],
        namespace="y",
        clusterIP="None",
        publishNotReadyAddresses=True,
    )
    cni_names.expect("x/a", f"{service.fqdn}.", {unready.ip})


@requirement("DNS-HEADLESS-UPDATE", feature="dns/headless", source=HEADLESS)
def test_a_pod_that_leaves_a_headless_service_leaves_its_answer(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """When a pod no longer matches a headless Service, its address leaves the answer."""
    service = _over_pods(cni_grid, cni_services, "dns-leaving", "ab")
    cni_names.expect("x/a", f"{service.fqdn}.", {cni_grid.pod(f"y/{name}").ip for name in "ab"})
    cni_grid.relabel("y/b", {"headless": None})
    cni_names.expect("x/a", f"{service.fqdn}.", {cni_grid.pod("y/a").ip}, repeats=ALL_SERVERS)


@requirement("DNS-HOSTNAME", feature="dns/headless", source=HEADLESS)
def test_an_endpoint_with_a_host_name_has_a_name_of_its_own(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """`hostname.service…` resolves to the endpoint of a headless Service that has this hostname, and to no other."""
    first, second = (cni_grid.pod(key).ip for key in ("y/a", "y/b"))
    service = _headless(cni_services, "dns-hostname")
    entries = [{"addresses": [first], "hostname": "first"}, {"addresses": [second], "hostname": "second"}]
    cni_names.endpoints(service, entries)
    cni_names.expect("x/a", f"first.{service.fqdn}.", {first})
    cni_names.expect("x/a", f"second.{service.fqdn}.", {second})


@requirement("DNS-SRV", feature="dns/srv", source=SPEC)
def test_a_named_port_has_an_srv_record(cni_services: Services, cni_names: Names) -> None:
    """`_port._proto.service…` gives each named port's number and a target that resolves to the cluster IP."""
    ports = [port(8000, 80, name="web"), port(8001, 81, "UDP", name="feed")]
    service = cni_services.create("dns-srv", {"pod": "b"}, ports, namespace="y")
    for name, protocol, number in (("web", "tcp", 8000), ("feed", "udp", 8001)):
        targets = _srv(cni_names, f"_{name}._{protocol}.{service.fqdn}.", [number])
        cni_names.expect("x/a", targets[0], {service.cluster_ip})


@requirement("DNS-SRV-HEADLESS", feature="dns/srv", source=HEADLESS)
def test_a_headless_services_named_port_has_one_srv_record_per_endpoint(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """A headless Service's SRV answer has one target per endpoint, with the endpoint's own port number."""
    service = _over_pods(cni_grid, cni_services, "dns-srv-headless", "ab", ports=[port(8000, 80, name="web")])
    targets = _srv(cni_names, f"_web._tcp.{service.fqdn}.", [80, 80])
    found = {address for target in targets for address in cni_names.ask("x/a", target).addresses}
    if found != (wanted := {cni_grid.pod(f"y/{name}").ip for name in "ab"}):
        raise ConformanceFailure(
            f"targets {', '.join(targets)} resolve to {sorted(found)}, not {sorted(wanted)}"
        )


@requirement("DNS-PTR", feature="dns/reverse", source=SPEC)
def test_a_cluster_ip_has_a_reverse_name(cni_services: Services, cni_names: Names) -> None:
    """The reverse name of a cluster IP is the Service's name."""
    service = cni_services.create("dns-ptr", {"pod": "b"}, [port(8000, 80)], namespace="y")
    cni_names.expect("x/a", _reverse(service.cluster_ip), [f"{service.fqdn}."], "PTR")


@requirement("DNS-PTR-HEADLESS", feature="dns/reverse", source=HEADLESS)
def test_an_endpoint_with_a_host_name_has_a_reverse_name(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """The reverse name of a headless Service's endpoint includes `hostname.service…`."""
    service = _headless(cni_services, "dns-ptr-headless")
    address = cni_grid.pod("y/c").ip
    cni_names.endpoints(service, [{"addresses": [address], "hostname": "third"}])
    wanted = f"third.{service.fqdn}."

    def wrong() -> str | None:
        # An address may be behind several Services, and then it has as many names.
        answer = cni_names.ask("x/a", _reverse(address), "PTR")
        return None if wanted in answer.values("PTR") else f"{address} has the names {answer}, not {wanted}"

    cni_grid.eventually("reverse name of an endpoint", wrong)


@requirement("DNS-AAAA-HEADLESS", feature="dns/families", source=HEADLESS)
def test_endpoints_of_both_families_have_records(cni_services: Services, cni_names: Names) -> None:
    """A headless Service's IPv4 endpoints have A records and its IPv6 endpoints AAAA records, whatever pods have."""
    service = _headless(cni_services, "dns-families")
    for family, kind in RECORD.items():
        (address,) = cni_names.made_up(1, family)
        cni_names.endpoints(service, [{"addresses": [address]}], family=family)
        cni_names.expect("x/a", f"{service.fqdn}.", [address], kind)


@requirement(
    "DNS-POD",
    level=SHOULD,
    feature="dns/pod",
    source="https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#a-aaaa-records-1",
)
def test_a_pod_has_a_name_made_of_its_address(cni_grid: Grid, cni_names: Names) -> None:
    """`address-with-dashes.namespace.pod.domain` resolves to the pod's address where the cluster's DNS has such names."""
    if cni_names.config.pods not in ("insecure", "verified"):
        mode = cni_names.config.pods or "unknown: no Corefile"
        raise NotSupported(f"the cluster's DNS is not configured to name pods (pods {mode})")
    pod = cni_grid.pod("y/a")
    label = pod.ip.replace(".", "-").replace(":", "-")
    cni_names.expect("x/a", f"{label}.{pod.namespace}.pod.{cni_names.domain}.", {pod.ip})


def _headless(services: Services, name: str) -> LiveService:
    """Create a headless Service without selector: its endpoints are the check's to write."""
    return services.create(name, None, [port(80)], namespace="y", clusterIP="None")


def _over_pods(
    grid: Grid, services: Services, name: str, pods: str, ports: list[dict[str, Any]] | None = None
) -> LiveService:
    service = services.create(name, {"headless": name}, ports or [port(80)], namespace="y", clusterIP="None")
    for pod in pods:
        grid.relabel_for_check(f"y/{pod}", {"headless": name})
    services.wait_endpoints(service.name, "y", len(pods))
    return service


def _srv(names: Names, name: str, ports: list[int]) -> list[str]:
    """Assert that a name comes to have SRV records with these ports; return their targets."""
    targets: list[str] = []

    def wrong() -> str | None:
        answer = names.ask("x/a", name, "SRV")
        found = answer.values("SRV")
        if answer.rcode != "NOERROR" or sorted(value[2] for value in found) != ports:
            return f"{name} SRV answered {answer}, expected ports {ports}"
        targets[:] = [value[3] for value in found]
        return None

    names.eventually(f"resolving {name}", wrong)
    return targets


def _reverse(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer + "."
