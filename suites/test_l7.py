# SPDX-License-Identifier: Apache-2.0
"""HTTP-aware policy, on the story's model-serving policy: infer by POST, health and metrics by GET, no more."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.kube import KubeClient
from pytest_cniconformance.model.failure import ConformanceFailure, NotEnforced, NotSupported
from pytest_cniconformance.model.verdict import Observation, Probe, Verdict
from pytest_cniconformance.probe.questions import http_session

pytestmark = pytest.mark.l7

DOCS = "https://docs.cilium.io/en/stable/security/policy/layer7/#http"
SERVER, GATEWAY, STRANGER = "y/b", "x/a", "z/a"
HTTP_PORT = 8080
SILENCE = 5.0
"""Seconds for which a request stays unanswered before that is the network's answer."""
CNP = "cilium.io/v2"
INFER = ("POST", "/v2/models/fraud/infer")
ALLOWED = (INFER, ("GET", "/health"), ("GET", "/metrics"))


def serving_policy() -> dict[str, Any]:
    """Return the policy of the story, with the namespace that it forgot for the gateway."""
    gateway = {"k8s:pod": "a", "k8s:io.cilium.k8s.namespace.labels.ns": "x"}
    return {
        "apiVersion": CNP,
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "ml-model-serving", "namespace": "y"},
        "spec": {
            "endpointSelector": {"matchLabels": {"pod": "b"}},
            "ingress": [
                {
                    "fromEndpoints": [{"matchLabels": gateway}],
                    "toPorts": [
                        {
                            "ports": [{"port": str(HTTP_PORT), "protocol": "TCP"}],
                            "rules": {
                                "http": [
                                    {"method": "POST", "path": "/v2/models/[a-z]+/infer"},
                                    {"method": "GET", "path": "/health"},
                                    {"method": "GET", "path": "/metrics"},
                                ]
                            },
                        }
                    ],
                }
            ],
        },
    }


@pytest.mark.smoke
@requirement("L7-ALLOW", feature="l7/http", source=DOCS)
def test_allowed_requests_pass(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """Requests that a rule names are answered by the server."""
    _in_force(cni_grid, cni_kube)
    for method, path in ALLOWED:
        seen = _answer(cni_grid, method, path)
        if seen.verdict is not Verdict.OPEN or seen.http_status != 200:
            raise ConformanceFailure(f"{method} {path} from {GATEWAY} expected 200, observed {seen}")


@requirement("L7-METHOD", feature="l7/http", source=DOCS)
def test_another_method_is_denied(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """A path that is allowed for one method is denied for others."""
    _in_force(cni_grid, cni_kube)
    _denied(cni_grid, ("GET", INFER[1]), ("POST", "/health"), ("DELETE", "/metrics"))


@pytest.mark.smoke
@requirement("L7-PATH", feature="l7/http", source=DOCS)
def test_the_whole_path_must_match(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """A path rule matches the whole path, not a part of it."""
    _in_force(cni_grid, cni_kube)
    _denied(cni_grid, ("GET", "/healthz"), ("GET", "/admin/health"), ("POST", INFER[1] + "/raw"))


@pytest.mark.smoke
@requirement(
    "L7-403",
    feature="l7/denial",
    source="https://docs.cilium.io/en/stable/security/policy/layer7/",
)
def test_a_denied_request_is_answered_403(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """A denied request is answered 403; the connection is neither reset nor left silent."""
    _in_force(cni_grid, cni_kube)
    seen = _answer(cni_grid, "GET", "/secret")
    if seen.verdict is not Verdict.HTTP_DENIED:
        raise _wrong("GET /secret expected HTTP 403", seen)


@requirement("L7-KEEPALIVE", feature="l7/http", source=DOCS)
def test_every_request_of_a_connection_is_judged(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """On one connection an allowed, a denied and an allowed request are answered 200, 403, 200."""
    _in_force(cni_grid, cni_kube)
    requests = [("GET", "/health"), ("GET", "/secret"), ("GET", "/health")]
    statuses, error = http_session(cni_grid.agent(GATEWAY), cni_grid.pod(SERVER).ip, HTTP_PORT, requests)
    if statuses != [200, 403, 200]:
        kind = NotEnforced if statuses == [200, 200, 200] else ConformanceFailure
        raise kind(
            f"three requests on one connection expected [200, 403, 200], observed {statuses} {error}".rstrip()
        )


@requirement("L7-PEER", feature="l7/peers", source=DOCS)
def test_other_peers_stay_denied(cni_grid: Grid, cni_kube: KubeClient) -> None:
    """HTTP rules for one peer open nothing to another: it is denied before any request is read."""
    _in_force(cni_grid, cni_kube)

    def wrong() -> str | None:
        seen = _request(cni_grid, "GET", "/health", source=STRANGER)
        return (
            None
            if seen.verdict is Verdict.DROPPED
            else f"GET /health from {STRANGER} expected dropped, observed {seen}"
        )

    cni_grid.eventually("a peer that no rule names", wrong, deadline=5.0)


def _in_force(grid: Grid, kube: KubeClient) -> None:
    """Apply the policy and wait until the gateway's requests are answered and a forbidden one is not.

    First the server must answer every request without policy: otherwise a denial proves nothing.
    """
    if not kube.has(CNP, "CiliumNetworkPolicy"):
        raise NotSupported("the API server does not serve cilium.io/v2 CiliumNetworkPolicy")
    for method, path in (*ALLOWED, ("GET", "/secret")):
        seen = _answer(grid, method, path)
        if seen.verdict is not Verdict.OPEN:
            raise ConformanceFailure(f"without policy {method} {path} expected 200, observed {seen}")
    if _request(grid, "GET", "/health", source=STRANGER).verdict is not Verdict.OPEN:
        raise ConformanceFailure(f"without policy {STRANGER} does not reach {SERVER}")
    grid.apply(serving_policy())

    def wrong() -> str | None:
        allowed, forbidden = _request(grid, "GET", "/health"), _request(grid, "GET", "/secret")
        if allowed.verdict is not Verdict.OPEN:
            return f"GET /health expected 200, observed {allowed}"
        return (
            None
            if forbidden.verdict is not Verdict.OPEN
            else f"GET /secret expected 403, observed {forbidden}"
        )

    try:
        grid.eventually("the HTTP policy", wrong, deadline=grid.patience())
    except ConformanceFailure as failure:
        if "GET /secret" in str(failure):
            raise NotEnforced(str(failure)) from None
        raise


def _request(grid: Grid, method: str, path: str, *, source: str = GATEWAY) -> Observation:
    probe = Probe(source, grid.pod(SERVER).ip, HTTP_PORT, http={"method": method, "path": path})
    return grid.probe(probe)[0]


def _answer(grid: Grid, method: str, path: str) -> Observation:
    """Return what the gateway's request is answered; silence counts once it has lasted.

    A probe waits as long as handshakes take. Those are the kernel's; an answer waits for the proxy and for the server,
    which on a busy machine get the processor late.
    """
    seen: list[Observation] = []

    def silent() -> str | None:
        seen.append(_request(grid, method, path))
        return "no answer" if seen[-1].verdict is Verdict.DROPPED else None

    with suppress(ConformanceFailure):  # what was seen says more
        grid.eventually(f"{method} {path}", silent, deadline=SILENCE)
    return seen[-1]


def _denied(grid: Grid, *requests: tuple[str, str]) -> None:
    for method, path in requests:
        seen = _request(grid, method, path)
        if not seen.verdict.denied:
            raise _wrong(f"{method} {path} from {GATEWAY} expected denied", seen)


def _wrong(expectation: str, seen: Observation) -> ConformanceFailure:
    kind = NotEnforced if seen.verdict is Verdict.OPEN else ConformanceFailure
    return kind(f"{expectation}, observed {seen}")
