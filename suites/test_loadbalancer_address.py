# SPDX-License-Identifier: Apache-2.0
"""The address of a LoadBalancer Service: given in time, its own, the one that was asked for, and given back."""

from __future__ import annotations

import time

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.balancers import PORT, Balancers
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.latency import LatencyBench
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.fixtures.vantage import Vantage
from pytest_cniconformance.model.failure import ConformanceFailure

pytestmark = pytest.mark.loadbalancer

DOCS = "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer"
CLASS = "https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-class"
API = "https://kubernetes.io/docs/reference/kubernetes-api/core/service-v1/#ServiceSpec"
METALLB = "https://metallb.io/usage/#requesting-specific-ips"
STATUS = "https://kubernetes.io/docs/reference/kubernetes-api/core/service-v1/#ServiceStatus"
MIGRATION = "https://metallb.io/release-notes/#version-0149"
MANY = 3


@pytest.mark.smoke
@requirement("LB-ASSIGNED", feature="loadbalancer/address", source=DOCS)
def test_a_load_balancer_gets_an_address(cni_balancers: Balancers, cni_measure: LatencyBench) -> None:
    """A LoadBalancer Service gets an address; the time from its creation is measured."""
    cni_balancers.need()
    cni_balancers.request("assigned")
    began = time.monotonic()
    cni_balancers.assigned("assigned")
    cni_measure.record("loadbalancer/assignment", [(time.monotonic() - began) * 1e6])


@requirement("LB-UNIQUE", feature="loadbalancer/address", source=DOCS)
def test_services_get_different_addresses(cni_balancers: Balancers) -> None:
    """Services on the same port that share nothing get different addresses."""
    cni_balancers.need("own-address")
    services = [cni_balancers.create(f"unique-{number}") for number in range(MANY)]
    addresses = [address for service in services for address in service.addresses]
    if len(set(addresses)) < len(addresses):
        raise ConformanceFailure(f"{MANY} Services got {', '.join(addresses)}")


@requirement("LB-STATIC", feature="loadbalancer/static", source=API)
def test_the_address_in_the_spec_is_given(cni_balancers: Balancers) -> None:
    """A Service with spec.loadBalancerIP gets this address where the implementation supports the field."""
    cni_balancers.need("static-field")
    address = cni_balancers.unused_address()
    cni_balancers.request("static", loadBalancerIP=address)
    cni_balancers.assigned("static", at=address)


@requirement("LB-STATIC-ANNOTATION", feature="loadbalancer/static", source=METALLB)
def test_the_address_in_the_annotation_is_given(cni_balancers: Balancers) -> None:
    """A Service that asks for an address by the implementation's annotation gets it."""
    annotation = cni_balancers.need("static-annotation").address_annotations[0]
    _by_annotation(cni_balancers, "static-annotation", annotation)


@requirement("LB-STATIC-OLD", level=SHOULD, feature="loadbalancer/static", source=MIGRATION)
def test_the_annotations_older_spelling_counts(cni_balancers: Balancers) -> None:
    """A manifest that asks for an address by the annotation's older domain still gets it."""
    for annotation in cni_balancers.need("static-annotation").address_annotations[1:]:
        _by_annotation(cni_balancers, "static-old", annotation)


@requirement("LB-CLASS", feature="loadbalancer/class", source=CLASS)
def test_a_service_of_another_class_is_left_alone(cni_balancers: Balancers, cni_services: Services) -> None:
    """A Service whose loadBalancerClass nobody implements gets no address; one that is made later does."""
    cni_balancers.need()
    cni_balancers.request("other-class", loadBalancerClass="cniconformance.example/nobody")
    cni_balancers.create("default-class")
    if found := cni_services.get("other-class", "y").addresses:
        raise ConformanceFailure(
            f"a Service of class cniconformance.example/nobody was given {', '.join(found)}"
        )


@requirement("LB-STABLE", feature="loadbalancer/address", source=DOCS)
def test_an_update_keeps_the_address(
    cni_balancers: Balancers, cni_services: Services, cni_external: Vantage
) -> None:
    """A Service keeps its address when a port is added, and the new port is answered on it."""
    before = cni_balancers.create("stable").addresses
    cni_balancers.request("stable", ports=[port(PORT, 80), port(PORT + 1, 81)])
    cni_balancers.answered(cni_external, before[0], number=PORT + 1)
    after = cni_services.get("stable", "y").addresses
    if before != after:
        raise ConformanceFailure(f"the address changed from {', '.join(before)} to {', '.join(after)}")


@requirement("LB-RETYPE", feature="loadbalancer/release", source=STATUS)
def test_a_service_that_is_no_load_balancer_any_more_has_no_address(
    cni_grid: Grid, cni_balancers: Balancers, cni_services: Services
) -> None:
    """When a Service's type becomes ClusterIP, its status lists no load-balancer address any more."""
    cni_balancers.create("retyped")
    cni_services.create("retyped", {"pod": "b"}, [port(PORT, 80)], namespace="y", type="ClusterIP")

    def wrong() -> str | None:
        found = cni_services.get("retyped", "y").addresses
        return f"the Service is of type ClusterIP and still lists {', '.join(found)}" if found else None

    cni_grid.eventually("a load balancer's address after a change of type", wrong)


@requirement("LB-RELEASE", feature="loadbalancer/release", source=DOCS)
def test_a_deleted_services_address_is_given_again(cni_balancers: Balancers, cni_services: Services) -> None:
    """The address of a deleted Service is free: another Service that asks for it gets it."""
    cni_balancers.need("static-field")
    address = cni_balancers.unused_address()
    cni_balancers.request("release-first", loadBalancerIP=address)
    cni_balancers.assigned("release-first", at=address)
    cni_services.delete(cni_services.get("release-first", "y"))
    cni_balancers.request("release-second", loadBalancerIP=address)
    cni_balancers.assigned("release-second", at=address)


def _by_annotation(balancers: Balancers, name: str, annotation: str) -> None:
    address = balancers.unused_address()
    balancers.request(name, annotations={annotation: address})
    balancers.assigned(name, at=address)
