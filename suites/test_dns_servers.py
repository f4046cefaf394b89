# SPDX-License-Identifier: Apache-2.0
"""The servers behind the cluster's DNS, what they forward, and the policies between them and the pods."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_cniconformance.fixtures import SHOULD, requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.names import Names
from pytest_cniconformance.fixtures.services import Services, port
from pytest_cniconformance.model.failure import ConformanceFailure, NotEnforced, NotSupported
from pytest_cniconformance.model.verdict import Probe
from pytest_cniconformance.probe.names import lookups

pytestmark = pytest.mark.dns

CUSTOM = "https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/"
POLICY = "https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-deny-all-egress-traffic"
LOOKUPS, LOST = 200, 4
"""A broken server among up to 20 fails 1 in 20 lookups or more: more than ``LOST`` of ``LOOKUPS`` but with
probability 0.03; single datagrams that an overloaded node loses stay below."""
SHORT_MS = 500
"""How long an answer is waited for that a policy should stop: twice as long as the control's may take."""


@requirement("DNS-REPLICAS", feature="dns/servers", source="https://github.com/coredns/coredns/issues/7212")
def test_every_server_answers_by_itself(cni_grid: Grid, cni_services: Services, cni_names: Names) -> None:
    """Each server behind the DNS Service, asked at its own address from every node, answers over UDP and TCP.

    The user's DNS pods are never killed: a broken one is found by asking each of them.
    """
    service = cni_services.create("dns-replicas", {"pod": "b"}, [port(8000, 80)], namespace="y")
    name = f"{service.fqdn}."
    for pod in cni_grid.one_per_node():
        for replica in cni_names.replicas():
            for tcp, number in ((False, replica.udp), (True, replica.tcp)):
                cni_names.expect(
                    pod.key, name, {service.cluster_ip}, server=replica.address, port=number, tcp=tcp
                )


@requirement("DNS-RELIABLE", feature="dns/servers", source="https://github.com/coredns/coredns/issues/7212")
def test_lookups_do_not_fail_now_and_then(cni_grid: Grid, cni_services: Services, cni_names: Names) -> None:
    """Of 200 lookups through the DNS Service, each from a fresh socket, at most two in a hundred fail."""
    service = cni_services.create("dns-reliable", {"pod": "b"}, [port(8000, 80)], namespace="y")
    cni_names.expect("x/a", f"{service.fqdn}.", {service.cluster_ip})
    found = lookups(cni_grid.agent("x/a"), f"{service.fqdn}.", LOOKUPS, types=[cni_names.kind], parallel=4)
    failed = {code: n for code, n in found.rcodes.items() if code != "NOERROR"}
    if lost := sum(found.lost.values()):
        failed["no answer"] = lost
    if sum(failed.values()) > LOST:
        what = ", ".join(f"{n} × {code}" for code, n in failed.items())
        raise ConformanceFailure(
            f"{sum(failed.values())} of {LOOKUPS} lookups of {service.fqdn} failed ({what}): "
            f"one of {len(cni_names.replicas())} servers may be broken, DNS-REPLICAS tells which"
        )


@requirement("DNS-EXTERNAL", feature="dns/forwarding", source=CUSTOM + "#coredns-configmap-options")
def test_names_beyond_the_cluster_resolve(cni_grid: Grid, cni_names: Names) -> None:
    """From every node the names that the user expects beyond the cluster resolve through the upstream servers."""
    for name in cni_names.external():
        for pod in cni_grid.one_per_node():

            def wrong(name: str = name, source: str = pod.key) -> str | None:
                answers = [cni_names.ask(source, name, kind) for kind in ("A", "AAAA")]
                if any(answer.addresses for answer in answers):
                    return None
                return f"{name} from {source} answered {' and '.join(map(str, answers))}"

            cni_names.eventually("a name beyond the cluster", wrong)


@requirement(
    "DNS-NXDOMAIN-EXT",
    level=SHOULD,
    feature="dns/forwarding",
    source="https://www.rfc-editor.org/rfc/rfc6761#section-6.4",
)
def test_a_name_that_cannot_exist_beyond_the_cluster_is_nxdomain(cni_names: Names) -> None:
    """A name under `invalid.` is NXDOMAIN: forwarding passes "no such name" on, and not as SERVFAIL."""
    cni_names.external()
    cni_names.expect_code("x/a", "no-such-host.invalid.", "NXDOMAIN")


@requirement("DNS-STUB", feature="dns/forwarding", source=CUSTOM + "#example")
def test_stub_zones_are_answered_by_their_own_servers(cni_grid: Grid, cni_names: Names) -> None:
    """From every node each zone that the cluster's DNS forwards to servers of its own exists there."""
    stubs = cni_names.config.stubs
    if not stubs:
        raise NotSupported("the configuration of the cluster's DNS declares no stub zone")
    for stub in stubs:
        for pod in cni_grid.one_per_node():

            def wrong(
                zone: str = stub.zone, source: str = pod.key, servers: Any = stub.servers
            ) -> str | None:
                answer = cni_names.ask(source, f"{zone}.", "SOA")
                if answer.rcode == "NOERROR":
                    return None
                return f"{zone} from {source} answered {answer}; it is forwarded to {' '.join(servers)}"

            cni_names.eventually("a stub zone", wrong)


@requirement("DNS-POLICY-DENY", feature="networkpolicy/dns", source=POLICY)
def test_an_egress_default_deny_stops_name_resolution(
    cni_grid: Grid, cni_services: Services, cni_names: Names
) -> None:
    """Under an egress default-deny without a rule for DNS no name resolves, while it does for other pods."""
    cni_names.cluster_server()
    service = cni_services.create("dns-denied", {"pod": "b"}, [port(8000, 80)], namespace="y")
    name = f"{service.fqdn}."
    cni_names.expect("x/a", name, {service.cluster_ip})
    cni_grid.apply(_egress("x", []))

    def wrong() -> str | None:
        for tcp in (False, True):
            answer = cni_names.ask("x/a", name, wait_ms=SHORT_MS, tcp=tcp)
            if answer.rcode:
                return f"x/a was answered over {'TCP' if tcp else 'UDP'} in spite of the policy: {answer}"
        control = cni_names.ask("z/a", name, wait_ms=SHORT_MS // 2)
        return None if control.addresses else f"z/a, which no policy selects, was answered {control}"

    try:
        cni_grid.eventually("DNS under an egress default-deny", wrong, deadline=cni_grid.patience())
    except ConformanceFailure as failure:
        if "in spite of" in str(failure):
            raise NotEnforced(str(failure)) from None
        raise


@requirement("DNS-POLICY-ALLOW", feature="networkpolicy/dns", source=POLICY)
def test_a_rule_for_dns_lets_names_resolve(cni_grid: Grid, cni_services: Services, cni_names: Names) -> None:
    """An egress rule for the DNS pods and their ports lets names resolve over UDP and TCP; all else stays denied."""
    cni_names.cluster_server()
    service = cni_services.create("dns-allowed", {"pod": "b"}, [port(8000, 80)], namespace="y")
    name = f"{service.fqdn}."
    cni_names.expect("x/a", name, {service.cluster_ip})
    cni_grid.apply(_egress("x", [_dns_rule(cni_grid, cni_names)]))
    other = Probe("x/a", cni_grid.pod("y/b").ip, 80)

    def leaks() -> str | None:
        seen = cni_grid.probe(other)[0]
        return None if seen.verdict.denied else f"x/a → y/b:80/TCP in spite of the policy: {seen}"

    try:
        cni_grid.eventually("an egress policy with a rule for DNS", leaks, deadline=cni_grid.patience())
    except ConformanceFailure as failure:
        raise NotEnforced(str(failure)) from None
    for tcp in (False, True):
        cni_names.expect("x/a", name, {service.cluster_ip}, tcp=tcp)


def _egress(namespace: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "dns-egress", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"], "egress": rules},
    }


def _dns_rule(grid: Grid, names: Names) -> dict[str, Any]:
    """Return the rule that names the DNS pods as their Service does, on the ports that they listen on."""
    namespace, name = grid.facts.dns_service
    service = grid.run.kube.get("v1", "Service", name, namespace)
    ports = {("UDP", replica.udp) for replica in names.replicas()}
    ports |= {("TCP", replica.tcp) for replica in names.replicas()}
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": service["spec"]["selector"]},
    }
    return {"to": [peer], "ports": [{"protocol": p, "port": number} for p, number in sorted(ports)]}
