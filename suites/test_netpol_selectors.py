# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: label selectors, on pods that carry a key, carry it with an empty value, or lack it.

Each check labels some pods or namespaces with ``tier`` and asks which of them a selector chooses.
"""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.sources import LABELS_DOCS, NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.model.verdict import Protocol
from pytest_cniconformance.policy.builders import Selector, expression, matching, network_policy, peer, rule

pytestmark = pytest.mark.netpol

SETS = LABELS_DOCS + "#set-based-requirement"
TCP = (Protocol.TCP,)
SUBJECTS = ("x/a", "x/c")


def _label_pods(grid: Grid) -> None:
    """Give y/a, x/b and z/b a tier ``db``, y/b and z/c ``web``, z/a an empty one; the others have none."""
    tiers = {"y/a": "db", "x/b": "db", "z/b": "db", "y/b": "web", "z/c": "web", "z/a": ""}
    for key, tier in tiers.items():
        grid.relabel(key, {"tier": tier})


def _from_pods(grid: Grid, title: str, selector: Selector) -> None:
    """Allow the pods of all namespaces that the selector chooses, and check who gets through."""
    peers = [peer(pods=selector, namespaces={})]
    grid.apply(network_policy("selected", "x", {}, ingress=[rule(peers)]))
    grid.check(title, destinations=SUBJECTS, ports=(80,), protocols=TCP)


def _from_namespaces(grid: Grid, title: str, selector: Selector) -> None:
    """Allow the namespaces that the selector chooses, and check who gets through."""
    grid.apply(network_policy("selected", "x", {}, ingress=[rule([peer(namespaces=selector)])]))
    grid.check(title, destinations=SUBJECTS, ports=(80,), protocols=TCP)


@requirement("NP-SEL-1", feature="networkpolicy/selectors", source=LABELS_DOCS)
def test_labels_and_expressions_are_anded(cni_grid: Grid) -> None:
    """All of matchLabels and matchExpressions must hold."""
    _label_pods(cni_grid)
    not_b = expression("pod", "NotIn", "b")
    _from_pods(cni_grid, "tier=db and pod not b", matching(not_b, labels={"tier": "db"}))
    two = matching(expression("tier", "In", "db", "web"), not_b)
    _from_pods(cni_grid, "tier db or web, and pod not b", two)
    both = matching(expression("ns", "Exists"), labels={"ns": "y"})
    _from_namespaces(cni_grid, "ns=y and ns exists", both)
    neither = matching(expression("ns", "NotIn", "y"), labels={"ns": "y"})
    _from_namespaces(cni_grid, "ns=y and ns not y: nobody", neither)


@requirement("NP-SEL-2-NOTIN", feature="networkpolicy/selectors", source=SETS)
def test_not_in_matches_objects_without_the_key(cni_grid: Grid) -> None:
    """NotIn selects every object without one of the values, those without the key included."""
    _label_pods(cni_grid)
    _from_pods(cni_grid, "pods: tier not db", matching(expression("tier", "NotIn", "db")))
    cni_grid.relabel_namespace("z", {"team": "red"})
    _from_namespaces(cni_grid, "namespaces: team not red", matching(expression("team", "NotIn", "red")))


@requirement("NP-SEL-2-ABSENT", feature="networkpolicy/selectors", source=SETS)
def test_does_not_exist_matches_objects_without_the_key(cni_grid: Grid) -> None:
    """DoesNotExist selects the objects without the key, and none that has it with any value."""
    _label_pods(cni_grid)
    _from_pods(cni_grid, "pods: no tier", matching(expression("tier", "DoesNotExist")))
    cni_grid.relabel_namespace("z", {"team": "red"})
    _from_namespaces(cni_grid, "namespaces: no team", matching(expression("team", "DoesNotExist")))


@requirement("NP-SEL-2-EXISTS", feature="networkpolicy/selectors", source=SETS)
def test_exists_needs_the_key(cni_grid: Grid) -> None:
    """Exists selects the objects that have the key, whatever its value."""
    _label_pods(cni_grid)
    _from_pods(cni_grid, "pods: any tier", matching(expression("tier", "Exists")))
    cni_grid.relabel_namespace("z", {"team": "red"})
    _from_namespaces(cni_grid, "namespaces: any team", matching(expression("team", "Exists")))


@requirement("NP-SEL-2-IN", feature="networkpolicy/selectors", source=SETS)
def test_in_needs_the_key_and_one_of_the_values(cni_grid: Grid) -> None:
    """In selects the objects that have one of the values, and none without the key."""
    _label_pods(cni_grid)
    _from_pods(cni_grid, "pods: tier web", matching(expression("tier", "In", "web")))
    _from_pods(cni_grid, "pods: tier db or web", matching(expression("tier", "In", "db", "web")))
    cni_grid.relabel_namespace("z", {"team": "red"})
    team = matching(expression("team", "In", "blue", "red"))
    _from_namespaces(cni_grid, "namespaces: team blue or red", team)


@requirement("NP-SEL-2-SUBJECT", feature="networkpolicy/selectors", source=SETS)
def test_expressions_select_the_isolated_pods(cni_grid: Grid) -> None:
    """A policy's own podSelector follows the same rules: NotIn isolates pods without the key."""
    cni_grid.relabel("x/a", {"tier": "db"})
    cni_grid.relabel("x/b", {"tier": "web"})
    for operator, values in (("NotIn", ("db",)), ("Exists", ()), ("DoesNotExist", ()), ("In", ("db", "web"))):
        chosen = matching(expression("tier", operator, *values))
        cni_grid.apply(network_policy("selected", "x", chosen, types=["Ingress"]))
        cni_grid.check(
            f"tier {operator} {' '.join(values)}",
            destinations=("x/a", "x/b", "x/c", "y/a"),
            ports=(80,),
            protocols=TCP,
        )


@requirement("NP-SEL-4", feature="networkpolicy/selectors", source=SETS)
def test_values_are_ored_and_expressions_on_one_key_anded(cni_grid: Grid) -> None:
    """The values of In are alternatives; two expressions on the same key must both hold."""
    first, second = expression("pod", "In", "a", "b"), expression("pod", "In", "b", "c")
    _from_pods(cni_grid, "pod a or b", matching(first))
    _from_pods(cni_grid, "pod a or b, and b or c: only b", matching(first, second))
    _from_pods(cni_grid, "pod a, and b or c: nobody", matching(expression("pod", "In", "a"), second))


@requirement("NP-SEL-5", feature="networkpolicy/selectors", source=LABELS_DOCS)
def test_an_empty_value_is_not_a_missing_label(cni_grid: Grid) -> None:
    """A label with an empty value exists, equals the empty value, and is none of any other values."""
    _label_pods(cni_grid)
    _from_pods(cni_grid, "tier equals nothing", {"tier": ""})
    _from_pods(cni_grid, "tier in nothing, web", matching(expression("tier", "In", "", "web")))
    _from_pods(
        cni_grid,
        "tier exists, and is not db or web",
        matching(expression("tier", "Exists"), expression("tier", "NotIn", "db", "web")),
    )
    _from_pods(cni_grid, "tier is not nothing", matching(expression("tier", "NotIn", "")))


@requirement(
    "NP-SEL-6",
    feature="networkpolicy/selectors",
    source=NETPOL_DOCS + "#targeting-a-namespace-by-its-name",
)
def test_namespaces_are_selected_by_their_name(cni_grid: Grid) -> None:
    """Every namespace carries its name as kubernetes.io/metadata.name, and no other label of itself."""
    real = {name: cni_grid.topology.real(name) for name in ("x", "y", "z")}
    _from_namespaces(cni_grid, "y by its name", {"kubernetes.io/metadata.name": real["y"]})
    several = expression("kubernetes.io/metadata.name", "In", real["x"], real["z"])
    _from_namespaces(cni_grid, "x and z by their names", matching(several))
    _from_namespaces(cni_grid, "the label name is not automatic", {"name": real["y"]})


@requirement("NP-SEL-7", feature="networkpolicy/selectors", source=NETPOL_API)
def test_selectors_follow_the_labels_of_the_moment(cni_grid: Grid) -> None:
    """A pod counts as a peer exactly while it carries the labels."""
    _from_pods(cni_grid, "nobody carries the label yet", {"tier": "db"})
    for tier in ("db", "web", None, "db"):
        cni_grid.relabel("y/b", {"tier": tier})
        cni_grid.relabel("x/b", {"tier": tier})
        cni_grid.check(f"y/b and x/b carry tier={tier}", destinations=SUBJECTS, ports=(80,), protocols=TCP)
