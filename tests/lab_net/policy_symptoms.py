# SPDX-License-Identifier: Apache-2.0
"""What a fault of policy enforcement looks like on the wire: each symptom tells whether a world has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab_net.world import World

Symptom = "Callable[[World], bool]"
OPEN = "open"
DENY = {"podSelector": {}, "policyTypes": ["Ingress"]}
DENY_OUT = {"podSelector": {}, "policyTypes": ["Egress"]}


def pod(world: World, key: str, target: str, port: int = 80, **options: Any) -> str:
    return world.probe(key, world.pods[target].ip, port, **options)


def allow(peer: dict[str, Any] | None = None, *ports: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if peer:
        rule["from"] = [peer]
    if ports:
        rule["ports"] = list(ports)
    return {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress"], "ingress": [rule]}


def in_ns(name: str, **more: Any) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"ns": name}}, **more}


def opened(policy: dict[str, Any], source: str, target: str, port: int = 80, **options: Any) -> Symptom:
    """Give the symptom: traffic passes that the policy forbids."""

    def symptom(world: World) -> bool:
        world.policy(f"{target.split('/')[0]}/p", policy)
        return pod(world, source, target, port, **options) == OPEN

    return symptom


def closed(policy: dict[str, Any], source: str, target: str, port: int = 80, **options: Any) -> Symptom:
    """Give the symptom: traffic is stopped that the policy allows."""
    inner = opened(policy, source, target, port, **options)
    return lambda world: not inner(world)


def except_denies(world: World) -> bool:
    world.do(world.sandbox.ask("serve", netns="outside", name="outside", port=7001))
    block = {"ipBlock": {"cidr": "172.30.0.0/16", "except": ["172.30.2.0/24"]}}
    both = [{"to": [block]}, {"to": [{"ipBlock": {"cidr": "172.30.2.0/24"}}]}]
    world.policy("x/p", {"podSelector": {}, "policyTypes": ["Egress"], "egress": both})
    return world.probe("x/a", "172.30.2.1", 7001) != OPEN


def one_policy_counts(ignored: str) -> Symptom:
    def symptom(world: World) -> bool:
        world.policy("x/one", allow(in_ns("y")))
        world.policy("x/two", allow(in_ns("z")))
        return pod(world, f"{ignored}/a", "x/a") != OPEN

    return symptom


def one_pod_of_a_node(world: World) -> bool:
    """Only the first of two pods of the node is isolated."""
    world.policy("n/p", {"podSelector": {}, "policyTypes": ["Ingress"]})
    first = [pod(world, "y/a", target) for target in ("n/a", "n/c")]
    return OPEN in first


def before_dnat(world: World) -> bool:
    world.service("x/s", ["x/b"], port=81, target=80)
    world.policy(
        "x/p", {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}]}]}
    )
    # Conntrack knows the Service's port only on the client's node, so that the fault needs a client beside the backend.
    beside = [key for key, p in world.pods.items() if p.node == world.pods["x/b"].node and key != "x/b"]
    directly = {pod(world, key, "x/b") for key in beside}
    return directly == {OPEN} and OPEN not in {
        world.probe(key, world.cluster_ip("x/s"), 81) for key in beside
    }


def stale(world: World) -> bool:
    world.policy("x/p", DENY)
    world.no_policies()
    return pod(world, "y/a", "x/a") != OPEN


def remembered(world: World) -> bool:
    world.policy("x/p", {**DENY, "podSelector": {"matchLabels": {"pod": "a"}}})
    denied = pod(world, "y/a", "x/a") != OPEN
    world.policy("x/p", allow(in_ns("y")))
    return denied and pod(world, "y/a", "x/a") != OPEN


def lost_at_random(world: World) -> bool:
    world.policy("x/p", allow(in_ns("y")))
    return any(pod(world, "y/a", "x/a") != OPEN for _ in range(12))


def udp_replies_dropped(world: World) -> bool:
    world.policy("x/p", DENY_OUT)
    return pod(world, "y/b", "x/a", kind="udp") != OPEN and pod(world, "y/b", "x/a") == OPEN


def paired(world: World) -> bool:
    """The server of an open connection may open one to its client."""
    world.policy("y/p", {"podSelector": {}, "policyTypes": ["Ingress"]})
    closed_before = pod(world, "x/a", "y/a") != OPEN
    return closed_before and pod(world, "y/a", "x/a") == OPEN and pod(world, "x/a", "y/a") == OPEN


def replies_dropped(world: World) -> bool:
    world.policy("x/p", DENY_OUT)
    return pod(world, "y/b", "x/a") != OPEN


def node_blocked(world: World) -> bool:
    world.policy("x/p", DENY)
    return world.probe("lab-worker1", world.pods["x/a"].ip) != OPEN


def opened_elsewhere(world: World) -> bool:
    world.policy("x/p", DENY)
    return pod(world, "x/a", "y/a") != OPEN


def self_blocked(world: World) -> bool:
    before = pod(world, "x/a", "x/a")
    world.policy("x/p", DENY)
    during = pod(world, "x/a", "x/a")
    world.no_policies()
    return before == OPEN and during != OPEN and pod(world, "x/a", "x/a") == OPEN


# Faults of reading and of knowledge are tables, tested on paper in test_policy_faults.py.
POLICY: dict[str, Symptom] = {
    "policies-ignored": opened(DENY, "y/a", "x/a"),
    "egress-not-enforced": opened(DENY_OUT, "x/a", "x/b"),
    "endport-ignored": closed(allow(None, {"port": 80, "endPort": 81}), "y/a", "x/a", 81),
    "stale-after-delete": stale,
    "except-as-deny": except_denies,
    "subject-not-namespaced": opened_elsewhere,
    "second-pod-not-isolated": one_pod_of_a_node,
    "last-policy-wins": one_policy_counts("y"),
    "first-policy-wins": one_policy_counts("z"),
    "udp-not-enforced": opened(DENY, "y/a", "x/a", kind="udp"),
    "same-node-not-enforced": opened(DENY, "y/a", "x/a"),
    "cross-node-not-enforced": opened(DENY, "y/b", "x/a"),
    "judged-before-dnat": before_dnat,
    "replies-dropped": replies_dropped,
    "udp-replies-dropped": udp_replies_dropped,
    "pair-cache": paired,
    "denial-remembered": remembered,
    "allow-lost-at-random": lost_at_random,
    "node-blocked": node_blocked,
    "self-blocked": self_blocked,
}
