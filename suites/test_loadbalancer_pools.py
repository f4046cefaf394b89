# SPDX-License-Identifier: Apache-2.0
"""Pools of addresses and addresses that Services share: chosen as asked, and refused aloud where they cannot be."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.balancers import PORT, Balancers
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.fixtures.vantage import Vantage
from pytest_cniconformance.kube.loadbalancers import address_range, automatic, in_ranges, pool_ranges
from pytest_cniconformance.model.failure import ConformanceFailure, NotSupported

pytestmark = pytest.mark.loadbalancer

POOLS = "https://metallb.io/configuration/_advanced_ipaddresspool_configuration/"
NAMED = "https://metallb.io/usage/#requesting-specific-ips"
SHARING = "https://metallb.io/usage/#ip-address-sharing"
PENDING = "https://github.com/metallb/metallb/issues/1586"
MIGRATION = "https://metallb.io/release-notes/#version-0149"


@requirement("LB-POOL", feature="loadbalancer/pools", source=NAMED)
def test_the_requested_pool_is_honoured(cni_grid: Grid, cni_balancers: Balancers) -> None:
    """The address comes from the pool that the Service's annotation names."""
    _from_named_pools(cni_grid, cni_balancers, cni_balancers.need("pools").pool_annotations[0])


@requirement("LB-POOL-OLD", feature="loadbalancer/pools", source=MIGRATION)
def test_the_pool_in_the_older_annotation_is_honoured(cni_grid: Grid, cni_balancers: Balancers) -> None:
    """The address comes from the pool that the annotation's older spelling names, as in manifests of years ago."""
    for annotation in cni_balancers.need("pools").pool_annotations[1:]:
        _from_named_pools(cni_grid, cni_balancers, annotation)


@requirement("LB-POOL-UNKNOWN", feature="loadbalancer/pools", source=NAMED)
def test_a_pool_that_does_not_exist_is_reported(cni_balancers: Balancers) -> None:
    """A Service that names a pool which does not exist stays pending, and an event or a condition says why."""
    annotation = cni_balancers.need("pools").pool_annotations[0]
    cni_balancers.request("pool-unknown", annotations={annotation: "cniconformance-no-such-pool"})
    cni_balancers.pending("pool-unknown", "the pool that it names does not exist")


@requirement(
    "LB-POOL-AUTO", feature="loadbalancer/pools", source=POOLS + "#controlling-automatic-address-allocation"
)
def test_a_service_that_names_no_pool_gets_an_automatic_one(cni_balancers: Balancers) -> None:
    """A Service that names no pool gets no address from a pool whose addresses must be asked for."""
    cni_balancers.need("own-address")
    if not cni_balancers.pools:
        raise NotSupported("the pools of the implementation are not known")
    address = cni_balancers.create("pool-auto").addresses[0]
    ranges = [text for pool in cni_balancers.pools if automatic(pool) for text in pool_ranges(pool)]
    reserved = [
        pool for pool in cni_balancers.pools if not automatic(pool) and in_ranges(address, pool_ranges(pool))
    ]
    if reserved and not in_ranges(address, ranges):
        name = reserved[0]["metadata"]["name"]
        raise ConformanceFailure(f"{address} is of pool {name}, which serves only Services that ask for it")


@requirement("LB-EXHAUSTED", feature="loadbalancer/pools", source=PENDING)
def test_an_exhausted_pool_is_reported(
    cni_grid: Grid, cni_balancers: Balancers, cni_services: Services
) -> None:
    """Where a pool has no address left a Service stays pending with a reason, and gets the next one that is freed."""
    found = cni_balancers.need("pools", "own-pools")
    first, _ = address_range(cni_balancers.spare())
    name = f"cniconformance-{cni_grid.run.id}-{cni_grid.run.worker}"
    bits = 32 if first.version == 4 else 128
    cni_grid.apply_quietly(
        {
            "apiVersion": found.pool_versions[0],
            "kind": found.pool_kind,
            "metadata": {"name": name, "namespace": cni_balancers.pools[0]["metadata"]["namespace"]},
            # No Service but those of this check may be served from it.
            "spec": {"addresses": [f"{first}/{bits}"], "autoAssign": False},
        }
    )
    annotations = {found.pool_annotations[0]: name}
    cni_balancers.request("exhausting", annotations=annotations)
    cni_balancers.assigned("exhausting", at=str(first))
    cni_balancers.request("exhausted", annotations=annotations)
    cni_balancers.pending("exhausted", f"the only address of pool {name} is taken")
    cni_services.delete(cni_services.get("exhausting", "y"))
    cni_balancers.assigned("exhausted", at=str(first))


@requirement("LB-SHARED", feature="loadbalancer/sharing", source=SHARING)
def test_two_services_share_an_address(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """Two Services with one sharing key and different ports have one address, each port answered by its own pods."""
    address, key = _sharing(cni_balancers)
    for name, number, backend in (("shared-one", PORT, "b"), ("shared-two", PORT + 1, "c")):
        cni_balancers.request(
            name,
            backend={"pod": backend},
            ports=[port(number, 80)],
            annotations={key: _own_key(cni_grid)},
            loadBalancerIP=address,
        )
        cni_balancers.assigned(name, at=address)
    cni_balancers.answered(cni_external, address, ["y/b"], number=PORT)
    cni_balancers.answered(cni_external, address, ["y/c"], number=PORT + 1)


@requirement("LB-SHARED-CONFLICT", feature="loadbalancer/sharing", source=SHARING)
def test_services_that_share_an_address_cannot_share_a_port(
    cni_grid: Grid, cni_balancers: Balancers, cni_external: Vantage
) -> None:
    """A second Service with the same key, address and port is refused with a reason; the first still answers."""
    address, key = _sharing(cni_balancers)
    annotations = {key: _own_key(cni_grid)}
    cni_balancers.request("conflict-first", annotations=annotations, loadBalancerIP=address)
    cni_balancers.assigned("conflict-first", at=address)
    cni_balancers.request(
        "conflict-second", backend={"pod": "c"}, annotations=annotations, loadBalancerIP=address
    )
    cni_balancers.pending("conflict-second", f"port {PORT} of {address} is another Service's")
    cni_balancers.answered(cni_external, address, ["y/b"], times=5)


@requirement("LB-SHARED-KEY", feature="loadbalancer/sharing", source=SHARING)
def test_an_address_is_not_shared_without_the_key(cni_balancers: Balancers) -> None:
    """A Service without the sharing key that asks for an address in use is refused with a reason."""
    address, key = _sharing(cni_balancers)
    cni_balancers.request("key-first", annotations={key: "cniconformance-first"}, loadBalancerIP=address)
    cni_balancers.assigned("key-first", at=address)
    cni_balancers.request("key-none", ports=[port(PORT + 1, 80)], loadBalancerIP=address)
    cni_balancers.pending("key-none", f"{address} belongs to a Service with which it shares no key")


def _sharing(balancers: Balancers) -> tuple[str, str]:
    """Return an address to share and the annotation that holds the key."""
    found = balancers.need("sharing", "static-field")
    return balancers.unused_address(), found.sharing_annotations[0]


def _own_key(grid: Grid) -> str:
    return f"cniconformance-{grid.run.id}-{grid.run.worker}"


def _from_named_pools(grid: Grid, balancers: Balancers, annotation: str) -> None:
    """Ask each of up to two pools that may serve us, the ones that are given out on request only first."""
    family = grid.facts.families[0]
    pools = sorted(balancers.pools, key=automatic)
    usable = [
        pool
        for pool in pools
        if not (pool["spec"].get("serviceAllocation"))
        and any((":" in text) == (family == "ipv6") for text in pool_ranges(pool))
    ]
    if not usable:
        raise NotSupported("every pool is reserved for certain namespaces or Services, or of another family")
    for number, pool in enumerate(usable[:2]):
        name, ranges = pool["metadata"]["name"], pool_ranges(pool)
        address = balancers.create(f"pool-{number}", annotations={annotation: name}).addresses[0]
        if not in_ranges(address, ranges):
            raise ConformanceFailure(f"pool {name} ({', '.join(ranges)}) was asked for, {address} was given")
