# SPDX-License-Identifier: Apache-2.0
"""How soon packets follow a change of policy or labels, in both directions of traffic and from two nodes.

What must happen is that the change takes effect, that a denied path stays denied, and that an update opens nothing
which neither the old nor the new rules allow. How long it takes is a measurement, judged by ``--cni-slo``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.convergence import ConvergenceBench
from pytest_cniconformance.kube import Obj
from pytest_cniconformance.model.convergence import Change
from pytest_cniconformance.policy.builders import network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

LIFECYCLE = "https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle"
DENY, ALLOW = Change.DENY, Change.ALLOW
MOVING = peer(namespaces={"ns": "y"})
LABEL = {"convergence": "in"}


def _policy(
    bench: ConvergenceBench,
    *peers: Obj,
    name: str = "convergence",
    selector: Mapping[str, str] | None = None,
) -> Obj:
    """Isolate the subject in both directions; allow port 80 to and from the friend and these peers."""
    namespace, _, friend = bench.friend.partition("/")
    rules = [rule([peer(pods={"pod": friend}, namespaces={"ns": namespace}), *peers], [port(80)])]
    own, _, pod = bench.subject.partition("/")
    return network_policy(
        name, own, selector or {"pod": pod}, ingress=rules, egress=rules, types=["Ingress", "Egress"]
    )


@requirement("NP-CONV-ISOLATE", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_a_policy_that_isolates_comes_and_goes(cni_convergence: ConvergenceBench) -> None:
    """A created policy denies, and its deletion allows again, for good and within the objectives."""
    bench, policy = cni_convergence, _policy(cni_convergence)
    with bench.watching() as events:
        while events.again(("create", DENY), ("delete", ALLOW)):
            events.deny("create", bench.applying(policy))
            events.allow("delete", lambda: bench.grid.delete(policy))


@requirement("NP-CONV-ALLOW", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_a_policy_that_allows_comes_and_goes(cni_convergence: ConvergenceBench) -> None:
    """A second policy on an isolated pod allows, and its deletion denies again."""
    bench = cni_convergence
    extra = _policy(bench, MOVING, name="convergence-allows")
    with bench.watching() as events:
        events.prepare(bench.applying(_policy(bench)))
        while events.again(("create", ALLOW), ("delete", DENY)):
            events.allow("create", bench.applying(extra), isolated=True)
            events.deny("delete", lambda: bench.grid.delete(extra), isolated=True)


@requirement("NP-CONV-UPDATE", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_an_updated_policy_opens_nothing_in_between(cni_convergence: ConvergenceBench) -> None:
    """An update takes effect, and opens nothing on the way that neither its old nor its new rules allow."""
    bench = cni_convergence
    narrow, wide = _policy(bench), _policy(bench, MOVING)
    with bench.watching() as events:
        events.prepare(bench.applying(narrow))
        while events.again(("update", ALLOW), ("update", DENY)):
            events.allow("update", bench.applying(wide), isolated=True)
            events.deny("update", bench.applying(narrow), isolated=True)


@requirement("NP-CONV-SUBJECT", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_a_pod_comes_under_a_policy_by_its_label(cni_convergence: ConvergenceBench) -> None:
    """A pod that is labelled so that a policy selects it is isolated; without the label it is not."""
    bench = cni_convergence
    with bench.watching() as events:
        put, remove = bench.labelling(bench.subject, LABEL)
        bench.applying(_policy(bench, selector=LABEL))()
        while events.again(("pod label", DENY), ("pod label", ALLOW)):
            events.deny("pod label", put)
            events.allow("pod label", remove)


@requirement("NP-CONV-PEER", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_a_pod_becomes_a_peer_by_its_label(cni_convergence: ConvergenceBench) -> None:
    """A pod that is labelled so that a rule names it is allowed; without the label it is not."""
    bench = cni_convergence
    policy = _policy(bench, peer(pods=LABEL, namespaces={"ns": "y"}))
    with bench.watching([bench.far]) as events:
        put, remove = bench.labelling(bench.far, LABEL)
        events.prepare(bench.applying(policy))
        while events.again(("peer label", ALLOW), ("peer label", DENY)):
            events.allow("peer label", put, isolated=True)
            events.deny("peer label", remove, isolated=True)


@requirement("NP-CONV-NAMESPACE", feature="networkpolicy/convergence", source=LIFECYCLE)
def test_a_namespace_becomes_a_peer_by_its_label(cni_convergence: ConvergenceBench) -> None:
    """A namespace that is labelled so that a rule names it has its pods allowed; without the label not."""
    bench = cni_convergence
    policy = _policy(bench, peer(namespaces=LABEL))
    with bench.watching() as events:
        put, remove = bench.labelling("y", LABEL)
        events.prepare(bench.applying(policy))
        while events.again(("namespace label", ALLOW), ("namespace label", DENY)):
            events.allow("namespace label", put, isolated=True)
            events.deny("namespace label", remove, isolated=True)
