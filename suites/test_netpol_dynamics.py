# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: what holds after policies, labels, pods and namespaces have changed.

How long a change takes is measured elsewhere; here it must arrive, and nothing of the time before it may stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import ALLOW, Grid
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.fixtures.topology import PodPlan
from pytest_cniconformance.model.matrix import Expectation
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import EGRESS, INGRESS, Obj, network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

LIFECYCLE = NETPOL_DOCS + "#pod-lifecycle"
TCP = (Protocol.TCP,)
SUBJECTS = ("x/a", "x/c")
MANY = 120
"""More policies for one pod than any CNI is known to take in one piece (hundred rules)."""
TURNS = 24


def _from(**labels: str) -> Obj:
    """Return a policy that lets into x the pods of namespaces with these labels."""
    return network_policy("from", "x", {}, ingress=[rule([peer(namespaces=labels)])])


def _open_again(
    grid: Grid, title: str, sources: Sequence[str] | None = None, destinations: Sequence[str] | None = None
) -> None:
    """Assert that these pairs are open, though no policy is left that could say so."""
    cells = grid.cells(sources, destinations, (80,), TCP)
    grid.expect({cell: Expectation(ALLOW, ("no policy is left",)) for cell in cells}, title)


@pytest.mark.smoke
@requirement("NP-DYN-1", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_relabelled_pods_become_and_cease_to_be_peers(cni_grid: Grid) -> None:
    """A pod is let in as soon as it carries the peer's label, and no longer once it has lost it."""
    friends = [rule([peer(pods={"role": "friend"}, namespaces={})])]
    ends = ["x/a", "x/b", "y/a", "y/b", "z/c"]

    def check(title: str) -> None:
        cni_grid.check(title, sources=ends, destinations=ends, ports=(80,), protocols=TCP)

    cni_grid.apply(network_policy("friends", "x", {"pod": "a"}, ingress=friends))
    check("from friends: nobody is one")
    for role in ("friend", "stranger", "friend"):
        for key in ("x/b", "y/a"):
            cni_grid.relabel(key, {"role": role})
        check(f"from friends: x/b and y/a carry role={role}")
    cni_grid.apply(network_policy("friends", "x", {"pod": "a"}, egress=friends, types=[EGRESS]))
    check("to friends: x/b and y/a")
    for key in ("x/b", "y/a"):
        cni_grid.relabel(key, {"role": None})
    check("to friends: nobody is one any more")


@requirement("NP-DYN-1-SUBJECT", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_relabelled_pods_become_and_cease_to_be_isolated(cni_grid: Grid) -> None:
    """A pod is isolated as soon as it carries the label of a policy's podSelector, and no longer without it."""
    from_z = [rule([peer(namespaces={"ns": "z"})])]
    cni_grid.apply(
        network_policy("guard", "x", {"role": "guarded"}, ingress=from_z, types=[INGRESS, EGRESS]),
    )
    ends = ["x/a", "x/b", "x/c", "y/a", "z/c"]
    for guarded in (("x/a",), ("x/a", "x/c"), ("x/c",), ()):
        for key in ("x/a", "x/c"):
            cni_grid.relabel(key, {"role": "guarded" if key in guarded else None})
        title = f"isolated: {', '.join(guarded) or 'nobody'}"
        cni_grid.check(title, sources=ends, destinations=ends, ports=(80,), protocols=TCP)


@requirement("NP-DYN-2", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_relabelled_namespaces_become_and_cease_to_be_peers(cni_grid: Grid) -> None:
    """The pods of a namespace are let in exactly while it carries the peer's label."""
    cni_grid.apply(_from(team="red"))
    cni_grid.check("no namespace is red", destinations=SUBJECTS, ports=(80,), protocols=TCP)
    for colours in ({"y": "red"}, {"y": "blue", "z": "red"}, {"z": None}, {"y": "red"}):
        for name, colour in colours.items():
            cni_grid.relabel_namespace(name, {"team": colour})
        cni_grid.check(f"relabelled: {colours}", destinations=SUBJECTS, ports=(80,), protocols=TCP)


@pytest.mark.smoke
@requirement("NP-DYN-3", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_an_updated_policy_takes_effect(cni_grid: Grid) -> None:
    """After an update the old rules no longer allow and the new ones do."""
    for number in (80, 81):
        cni_grid.apply(network_policy("moving", "x", {}, ingress=[rule(ports=[port(number)])]))
        cni_grid.check(f"only {number}", destinations=SUBJECTS)
    first, second = rule([peer(namespaces={"ns": "y"})]), rule([peer(namespaces={"ns": "z"})])
    for rules, title in (([first], "y"), ([first, second], "y, z"), ([second], "z"), ([], "nobody")):
        cni_grid.apply(network_policy("moving", "x", {}, ingress=rules, types=[INGRESS]))
        cni_grid.check(f"ingress from {title}", destinations=SUBJECTS, ports=(80,), protocols=TCP)


@requirement("NP-DYN-3-EGRESS", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_updated_egress_rules_take_effect(cni_grid: Grid) -> None:
    """After an update of egress rules the old ones no longer allow and the new ones do."""
    first, second = rule([peer(namespaces={"ns": "y"})]), rule([peer(namespaces={"ns": "z"})])
    for rules, title in (([first], "y"), ([first, second], "y, z"), ([second], "z"), ([], "nobody")):
        cni_grid.apply(network_policy("moving", "x", {}, egress=rules, types=[EGRESS]))
        cni_grid.check(f"egress to {title}", sources=SUBJECTS, ports=(80,), protocols=TCP)


@requirement("NP-DYN-3-SUBJECT", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_an_updated_pod_selector_moves_the_isolation(cni_grid: Grid) -> None:
    """After an update of podSelector the new pods are isolated and the old ones no longer."""
    ends = ["x/a", "x/b", "x/c", "y/a", "z/c"]
    for subject in ({"pod": "a"}, {"pod": "c"}, {}, {"pod": "b"}):
        cni_grid.apply(network_policy("moving", "x", subject, types=[INGRESS, EGRESS]))
        title = f"podSelector {subject or 'of all pods'}"
        cni_grid.check(title, sources=ends, destinations=ends, ports=(80,), protocols=TCP)


@requirement("NP-DYN-3-TYPES", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_updated_policy_types_take_effect(cni_grid: Grid) -> None:
    """A direction that is taken out of policyTypes is no longer isolated, and one that is put in is."""
    ends = ["x/a", "x/c", "y/a", "z/c"]
    for types in ([INGRESS, EGRESS], [INGRESS], [EGRESS], [EGRESS, INGRESS]):
        cni_grid.apply(network_policy("moving", "x", {}, types=types))
        title = f"policyTypes {', '.join(types)}"
        cni_grid.check(title, sources=ends, destinations=ends, ports=(80,), protocols=TCP)


@pytest.mark.smoke
@requirement("NP-DYN-4", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_a_deleted_policy_leaves_nothing_behind(cni_grid: Grid) -> None:
    """Deleting one of two policies keeps the other; deleting both ends the isolation."""
    first = network_policy("first", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "y"})])])
    second = network_policy("second", "x", {"pod": "a"}, ingress=[rule([peer(namespaces={"ns": "z"})])])
    cni_grid.apply(first, second)
    cni_grid.check("y and z", destinations=["x/a"])
    cni_grid.delete(first)
    cni_grid.check("z only", destinations=["x/a"])
    cni_grid.delete(second)
    _open_again(cni_grid, "all deleted", destinations=["x/a"])


@requirement("NP-DYN-4-SHARED", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_deleting_a_policy_takes_nothing_from_those_like_it(cni_grid: Grid) -> None:
    """Of policies with equal rules, one may go without the others losing peers, ports or isolation."""
    rules = [rule([peer(namespaces={"ns": "y"})], [port(80)])]
    twins = [network_policy(f"twin-{name}", "x", {"pod": name}, ingress=rules) for name in "ac"]
    double = network_policy("double", "x", {"pod": "a"}, ingress=rules)
    cni_grid.apply(*twins, double)
    ends = ["x/a", "x/c", "z/a"]
    cni_grid.check("y on 80, twice for x/a", destinations=ends, protocols=TCP)
    cni_grid.delete(double)
    cni_grid.check("once for x/a", destinations=ends, protocols=TCP)
    cni_grid.delete(twins[0])
    cni_grid.check("x/a is free, x/c is not", destinations=ends, protocols=TCP)


@requirement("NP-DYN-4-AGAIN", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_a_policy_that_comes_again_holds_again(cni_grid: Grid) -> None:
    """A policy of the same name, deleted and created with other rules, isolates with its own rules only."""
    for space in ("y", "z", "y"):
        policy = _from(ns=space)
        cni_grid.apply(policy)
        cni_grid.check(f"from {space}", destinations=SUBJECTS, ports=(80,), protocols=TCP)
        cni_grid.delete(policy)
    _open_again(cni_grid, "deleted", destinations=SUBJECTS)


@requirement("NP-DYN-5", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_a_namespace_that_comes_again_has_its_new_labels(cni_grid: Grid) -> None:
    """A namespace of the same name with other labels counts by the labels that it has now."""
    home = cni_grid.pod("x/a").node
    cni_grid.apply(_from(team="red"))
    cni_grid.add_namespace_for_check("again", {"team": "red"})
    for team in ("red", "blue", "red"):
        cni_grid.add_for_check([PodPlan("again/a", home)])
        cni_grid.check(f"team={team}", sources=["again/a"], destinations=SUBJECTS, ports=(80,), protocols=TCP)
        cni_grid.recreate_namespace("again", {"team": "blue" if team == "red" else "red"})
    cni_grid.add_for_check([PodPlan("again/a", home)])
    cni_grid.applied.clear()
    _open_again(cni_grid, "no policy", ["again/a"], SUBJECTS)


@requirement("NP-DYN-10", feature="networkpolicy/dynamics", source=LIFECYCLE)
def test_a_policy_holds_for_pods_that_come_later(cni_grid: Grid) -> None:
    """A policy that selects nobody yet, as subject or peer, holds for the pods that come."""
    cni_grid.apply(
        network_policy("later", "x", {"late": "subject"}, ingress=[rule([peer(namespaces={"ns": "y"})])]),
        network_policy("sooner", "x", {"pod": "a"}, ingress=[rule([peer(pods={"late": "peer"})])]),
    )
    cni_grid.check("before they come", destinations=["x/a", "x/b"], ports=(80,), protocols=TCP)
    near, far = cni_grid.pod("x/a").node, cni_grid.pod("y/a").node
    late = {"x/late-1": ("subject", near), "x/late-2": ("peer", far), "x/late-3": ("peer", near)}
    cni_grid.add_for_check([PodPlan(key, node, {"late": what}) for key, (what, node) in late.items()])
    ends = ["x/a", "x/b", "y/a", "z/c", *late]
    cni_grid.check("after they have come", sources=ends, destinations=ends, ports=(80,), protocols=TCP)
    cni_grid.applied.clear()
    _open_again(cni_grid, "no policy", ends, ends)


@requirement("NP-DYN-10-NAMESPACE", feature="networkpolicy/dynamics", source=NETPOL_API)
def test_a_policy_holds_for_namespaces_that_come_later(cni_grid: Grid) -> None:
    """A namespaceSelector that selects nobody yet selects the namespaces that come, with their pods."""
    cni_grid.apply(_from(team="red"))
    cni_grid.check("before they come", destinations=SUBJECTS, ports=(80,), protocols=TCP)
    cni_grid.add_namespace_for_check("red", {"team": "red"})
    cni_grid.add_namespace_for_check("blue", {"team": "blue"})
    home = cni_grid.pod("x/a").node
    cni_grid.add_for_check([PodPlan("red/a", home), PodPlan("blue/a", home)])
    late = ["red/a", "blue/a", "y/a"]
    cni_grid.check("after they have come", sources=late, destinations=SUBJECTS, ports=(80,), protocols=TCP)
    cni_grid.applied.clear()
    _open_again(cni_grid, "no policy", late, SUBJECTS)


@requirement("NP-DYN-12", feature="networkpolicy/scale", source=NETPOL_API)
def test_many_policies_for_one_pod_all_count(cni_grid: Grid) -> None:
    """Of more than a hundred policies for one pod the first, the last and one between them allow what they say."""
    allowed = {0: ("y", 80), MANY // 2: ("z", 81), MANY - 1: ("x", 80)}

    def policy(number: int) -> Obj:
        space, allowed_port = allowed.get(number, ("nobody", 8000 + number))
        peers = [peer(namespaces={"ns": space})]
        return network_policy(
            f"many-{number:03}", "x", {"pod": "a"}, ingress=[rule(peers, [port(allowed_port)])]
        )

    policies = [policy(number) for number in range(MANY)]
    cni_grid.apply(*policies)
    cni_grid.check(f"{MANY} policies", destinations=["x/a", "x/c"], protocols=TCP)
    del allowed[0], allowed[MANY - 1]
    cni_grid.apply(policies[MANY // 2], *(policy(number) for number in (0, MANY - 1)))
    cni_grid.check("two of them changed", destinations=["x/a", "x/c"], protocols=TCP)


@requirement("NP-DYN-12-CHURN", feature="networkpolicy/scale", source=NETPOL_API)
def test_changes_in_quick_succession_end_in_the_last_state(cni_grid: Grid) -> None:
    """Policies that are created, changed and deleted without a pause leave what was said last, and nothing else."""
    spaces = ("x", "y", "z")
    for turn in range(TURNS):
        fleeting = network_policy("fleeting", "x", {"pod": "c"}, types=[INGRESS])
        cni_grid.apply(_from(ns=spaces[turn % 3]), fleeting)
        cni_grid.delete(fleeting)
    last = spaces[(TURNS - 1) % 3]
    cni_grid.check(f"from {last}", destinations=SUBJECTS, ports=(80,), protocols=TCP)
