# SPDX-License-Identifier: Apache-2.0
"""Connections through changes: kept ones live on, new ones never fail, datagrams find the new backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.answers import UDP, expect_answers, expect_exactly, probes_to
from pytest_cniconformance.fixtures.backends import Backends
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.services import LiveService, Services, port
from pytest_cniconformance.model.failure import ConformanceFailure
from pytest_cniconformance.probe.questions import Hold, hold

pytestmark = pytest.mark.services

VIPS = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
STALE = "https://github.com/kubernetes/kubernetes/issues/59368"
UNREADY = "https://github.com/kubernetes/kubernetes/issues/105657"
TERMINATING = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow"
FLOWS = 8
"""A broken connection that is translated anew meets its old backend, one of three, by chance: all do so once in 6561."""


@requirement("SVC-UDP-STALE", feature="services/conntrack", source=STALE)
def test_a_udp_client_leaves_a_removed_backend(cni_grid: Grid, cni_services: Services) -> None:
    """A UDP client that keeps its source port reaches the new backend after the old one was removed."""
    cni_grid.relabel_for_check("y/a", {"team": "udp"})
    service = cni_services.create(
        "udp-stale", {"team": "udp"}, [port(8000, 80, "UDP")], namespace="y", endpoints=1
    )
    expect_answers(cni_grid, probes_to(["x/a"], [service.cluster_ip], 8000, (UDP,)), {"y/a"}, "first backend")
    with _held(cni_grid, service, "UDP") as [flow]:
        _last_from(cni_grid, flow, "y/a")
        cni_grid.relabel_for_check("y/b", {"team": "udp"})
        cni_grid.relabel("y/a", {"team": None})
        _last_from(cni_grid, flow, "y/b")


@requirement("SVC-UDP-LATE", feature="services/conntrack", source=UNREADY)
def test_a_udp_client_finds_a_backend_that_comes_later(cni_grid: Grid, cni_services: Services) -> None:
    """A UDP client that began before a Service had endpoints reaches one, from the same source port, once it has."""
    service = cni_services.create("udp-late", {"team": "late"}, [port(8000, 80, "UDP")], namespace="y")
    with _held(cni_grid, service, "UDP") as [flow]:
        cni_grid.eventually(
            "datagrams to no endpoint", lambda: None if flow.status().sent > 3 else "none sent"
        )
        cni_grid.relabel_for_check("y/a", {"team": "late"})
        _last_from(cni_grid, flow, "y/a")


@requirement("SVC-CONN-KEPT", feature="services/connections", source=VIPS)
def test_connections_outlive_changes_of_other_endpoints(cni_grid: Grid, cni_services: Services) -> None:
    """Established connections live on while endpoints are added to the Service and others removed."""
    for key in ("y/a", "y/b", "y/c"):
        cni_grid.relabel_for_check(key, {"team": "kept"})
    service = cni_services.create("kept", {"team": "kept"}, [port(8000, 80)], namespace="y", endpoints=3)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", "y/b", "y/c"}, "three backends")
    with _held(cni_grid, service, count=FLOWS) as flows:
        for key in ("y/a", "y/b"):
            everyone = {"y/a", "y/b", "y/c"}
            cni_grid.relabel(key, {"team": None})
            expect_exactly(cni_grid, "x/b", service.cluster_ip, 8000, everyone - {key}, f"without {key}")
            cni_grid.relabel(key, {"team": "kept"})
            expect_exactly(cni_grid, "x/b", service.cluster_ip, 8000, everyone, f"with {key} again")
        _all_alive(cni_grid, flows)


@requirement("SVC-CONN-TERMINATING", level=SHOULD, feature="services/connections", source=TERMINATING)
def test_connections_to_a_terminating_backend_live_on(
    cni_grid: Grid, cni_services: Services, cni_backends: Backends
) -> None:
    """Established connections to a pod that is being deleted live on for as long as it serves."""
    leaving = cni_backends.add("y/drained", {"team": "drain"}, lingers=True).identity
    service = cni_services.create("drain", {"team": "drain"}, [port(8000, 80)], namespace="y", endpoints=1)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {leaving}, "the backend")
    with _held(cni_grid, service, count=FLOWS) as flows:
        cni_grid.relabel_for_check("y/a", {"team": "drain"})
        cni_grid.relabel_for_check("y/b", {"team": "drain"})
        cni_services.wait_endpoints("drain", "y", 3)
        cni_backends.delete("y/drained")
        expect_exactly(cni_grid, "x/b", service.cluster_ip, 8000, {"y/a", "y/b"}, "it terminates")
        _all_alive(cni_grid, flows)


@requirement("SVC-CONN-IDLE", feature="services/connections", source=VIPS)
def test_idle_connections_live_on(cni_grid: Grid, cni_services: Services) -> None:
    """Connections that are idle for seconds at a time are still there when they are used again."""
    service = cni_services.create("idle", {"grid": "backend"}, [port(8000, 80)], namespace="y", endpoints=3)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", "y/b", "y/c"}, "three backends")
    with _held(cni_grid, service, count=FLOWS, interval_ms=2500) as flows:
        _all_alive(cni_grid, flows, exchanges=2)


@requirement("SVC-CONN-ROLLING", feature="services/connections", source=VIPS)
def test_no_new_connection_fails_while_endpoints_change(cni_grid: Grid, cni_services: Services) -> None:
    """No new connection fails while endpoints come and go and at least one stays."""
    for key in ("y/a", "y/b"):
        cni_grid.relabel_for_check(key, {"team": "roll"})
    service = cni_services.create("roll", {"team": "roll"}, [port(8000, 80)], namespace="y", endpoints=2)
    expect_exactly(cni_grid, "x/a", service.cluster_ip, 8000, {"y/a", "y/b"}, "two backends")
    with _held(cni_grid, service, fresh=True) as [flow]:
        for _ in range(2):
            cni_grid.relabel("y/b", {"team": None})
            expect_exactly(cni_grid, "x/b", service.cluster_ip, 8000, {"y/a"}, "without y/b")
            cni_grid.relabel("y/b", {"team": "roll"})
            expect_exactly(cni_grid, "x/b", service.cluster_ip, 8000, {"y/a", "y/b"}, "with y/b again")
        seen = flow.status()
    outages = [f"{cause} at {at:.0f} ms" for at, state, cause in seen.events if state == "down"]
    if outages:
        raise ConformanceFailure(
            f"{seen.sent - seen.answered} of {seen.sent} new connections failed: {'; '.join(outages[:5])}"
        )


@contextlib.contextmanager
def _held(
    grid: Grid,
    service: LiveService,
    protocol: str = "TCP",
    *,
    count: int = 1,
    fresh: bool = False,
    interval_ms: int = 20,
) -> Iterator[list[Hold]]:
    """Keep flows from x/a to a Service going, one exchange per interval; patience is long: no answer is a fault."""
    agent = grid.agent("x/a")
    options = {"fresh": fresh, "interval_ms": interval_ms, "patience_ms": 1000 if protocol == "UDP" else 3000}
    flows = [hold(agent, service.cluster_ip, 8000, protocol, **options) for _ in range(count)]  # type: ignore[arg-type]
    try:
        yield flows
    finally:
        for flow in flows:
            flow.stop()


def _last_from(grid: Grid, flow: Hold, wanted: str) -> None:
    def wrong() -> str | None:
        seen = flow.status()
        return (
            None if grid.key_of(seen.last) == wanted else f"the last answer is from {grid.key_of(seen.last)}"
        )

    grid.eventually(f"datagrams are answered by {wanted}", wrong)


def _all_alive(grid: Grid, flows: list[Hold], exchanges: int = 25) -> None:
    """Assert that every flow makes so many more exchanges, by default for half a second, and that none has ended."""
    asked = [flow.status().answered for flow in flows]

    def wrong() -> str | None:
        states = [flow.status() for flow in flows]
        if ended := [state.ended for state in states if state.ended]:
            raise ConformanceFailure(
                f"{len(ended)} of {len(flows)} established connections broke: {ended[0]}"
            )
        silent = sum(s.answered < n + exchanges for s, n in zip(states, asked, strict=True))
        return f"{silent} of {len(flows)} established connections are silent" if silent else None

    grid.eventually("established connections", wrong)
