# SPDX-License-Identifier: Apache-2.0
"""Realistic records: a calico run, one with trouble, a flannel run. Seeded, so that they never change."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

from catalogue import CATALOGUE, requirement

from pytest_cniconformance.measure.convergence import pooled, row
from pytest_cniconformance.measure.latency import LatencyStudy
from pytest_cniconformance.measure.slo import load_profile
from pytest_cniconformance.model.convergence import Change, ConvergenceSample
from pytest_cniconformance.model.matrix import Cell, Decision, Expectation, compare
from pytest_cniconformance.model.requirement import Outcome
from pytest_cniconformance.model.verdict import Observation, Protocol, Verdict
from pytest_cniconformance.report.check import CheckRecord, Deviation, MatrixRecord
from pytest_cniconformance.report.evidence import check_record
from pytest_cniconformance.report.record import (
    ClusterInfo,
    CniInfo,
    Environment,
    NodeInfo,
    RunInfo,
    RunRecord,
)
from pytest_cniconformance.report.summary import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_cniconformance.model.convergence import Convergence
    from pytest_cniconformance.model.measurement import Measurement

_SUITES = {"networkpolicy": "netpol"}
PODS = tuple(f"{namespace}/{pod}" for namespace in "xyz" for pod in "abc")
PORTS = ((80, Protocol.TCP), (81, Protocol.TCP), (80, Protocol.UDP))

MANIFEST = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-x-a
  namespace: y
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector:
        matchLabels: {ns: x}
      podSelector:
        matchLabels: {pod: a}
"""


def truth(*, leaks: Sequence[tuple[str, str]] = (), enforced: bool = True) -> tuple[Any, Any]:
    """Expected and observed cells of a policy on namespace y that admits x/a only."""
    expected, observed = {}, {}
    for port, protocol in PORTS:
        for source in PODS:
            for destination in PODS:
                cell = Cell(source, destination, port, protocol)
                denied = destination.startswith("y/") and source not in ("x/a", destination)
                because = ("isolated by y/allow-x-a (Ingress)", f"no rule admits {source}") if denied else ()
                expected[cell] = Expectation(Decision.DENY if denied else Decision.ALLOW, because)
                leak = denied and (not enforced or (source, destination) in leaks)
                observed[cell] = (
                    Observation(Verdict.DROPPED, "no answer", attempts=3, window_ms=412.0)
                    if denied and not leak
                    else Observation(Verdict.OPEN, latency_ms=0.31, attempts=1, responder=destination)
                )
    return expected, observed


def _policy_evidence(**how: Any) -> dict[str, Any]:
    expected, observed = truth(**how)
    return {
        "matrices": [MatrixRecord.of("Ingress to namespace y", expected, observed)],
        "mismatches": compare(expected, observed)[:8],
        "manifests": [MANIFEST],
        "reproduce": [
            "kubectl -n y apply -f allow-x-a.yaml",
            "kubectl -n x exec b -- python3 /cniconformance/run_agent.py probe --to 10.244.2.17:80/TCP",
        ],
    }


@cache
def latencies(
    target: str, *, rounds: int = 20, pod_us: float = 55.0, seed: int = 11
) -> tuple[Measurement, ...]:
    """A study of both placements with lognormal round trips, judged by the default profile."""
    pick = random.Random(seed)
    base = {"same-node": 42.0, "cross-node": 118.0}

    def sample(path: str, count: int) -> list[float | None]:
        place = path.partition("/")[2]
        centre = base[place] + (0 if path.startswith("host") else pod_us)
        return [
            round(centre * pick.lognormvariate(0, 0.28) + pick.paretovariate(2.5), 1) for _ in range(count)
        ]

    paths = {f"{target}/{place}": f"host-to-host/{place}" for place in base}
    study = LatencyStudy(paths=paths, rounds=rounds, block=50)
    return study.run(sample).measurements(load_profile("default"))


def convergences(seed: int = 7) -> tuple[Convergence, ...]:
    """Rows of one check: a deny and an allow in both directions, and what should not have changed."""
    pick = random.Random(seed)
    rows = []
    for traffic in ("ingress", "egress"):
        for change in (Change.DENY, Change.ALLOW):
            samples = []
            for _ in range(6):
                first = round(pick.uniform(10, 40), 3)
                last = round(first + pick.uniform(0, 30), 3)
                samples.append(
                    ConvergenceSample(first=first, last=last, wrong=round(last - 9, 3), error=11.5)
                )
            rows.append(row("update", traffic, change, samples, dropped=1, profile=load_profile("default")))
        steady = [ConvergenceSample(error=10.0)] * 12
        rows += [
            row("update", traffic, change, steady) for change in (Change.STAYS_DENIED, Change.STAYS_ALLOWED)
        ]
    return tuple(rows)


def _checks(changes: dict[str, dict[str, Any]], absent: Iterable[str] = ()) -> list[CheckRecord]:
    pick = random.Random(4)
    checks = []
    for capability, (_, entries) in CATALOGUE.items():
        suite = _SUITES.get(capability, capability)
        for number, (identifier, _, title) in enumerate(entries):
            settings: dict[str, Any] = {"outcome": Outcome.PASSED, "duration_s": 0.2 + pick.random()}
            if capability in absent:
                settings |= {
                    "outcome": Outcome.NOT_SUPPORTED,
                    "message": f"the profile does not claim {capability}",
                }
            elif capability == "networkpolicy":
                settings["evidence"] = _policy_evidence()
            elif capability == "latency":
                target = "pod-to-pod" if identifier == "LAT-POD-1" else "pod-to-service"
                settings["evidence"] = {"measurements": latencies(target)}
                settings["duration_s"] = 3.2
            settings |= changes.get(identifier, {})
            words = "_".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
            checks.append(
                check_record(
                    requirement(identifier),
                    nodeid=f"test_{suite}.py::test_{words}",
                    suite=suite,
                    worker=f"gw{number % 4}",
                    **settings,
                )
            )
    return checks


_TRAITS: dict[str, dict[str, Any]] = {
    "NP-NODE-1": {
        "evidence": {
            "traits": [
                {
                    "name": "node-to-own-pod",
                    "value": "admitted",
                    "note": "kubelet probes keep working under isolation",
                }
            ]
        }
    },
    "NP-UPD-1": {
        "evidence": _policy_evidence()
        | {
            "convergence": convergences(),
            "traits": [
                {
                    "name": "established-connections",
                    "value": "kept",
                    "note": "a new deny does not cut open streams",
                },
                {
                    "name": "time-to-deny",
                    "value": "84 ms",
                    "note": "from the API's answer to the last leak, 9 sources",
                },
            ],
        }
    },
    "SVC-NONE-1": {
        "evidence": {"traits": [{"name": "no-endpoints", "value": "refused (ICMP port unreachable)"}]}
    },
}


def _record(cni: CniInfo, checks: Iterable[CheckRecord], *, exit_status: int, emulated: bool) -> RunRecord:
    checks = list(checks)
    nodes = [
        NodeInfo(
            name=f"lab-worker{n}" if emulated else f"worker-{n}",
            kernel="6.12.41",
            os="Debian GNU/Linux 13",
            arch="amd64",
            runtime="none (network namespaces)" if emulated else "containerd://2.1.4",
        )
        for n in (1, 2, 3)
    ]
    return RunRecord.assemble(
        run=RunInfo(
            id="20261123-192042-7f3a",
            started="2026-11-23T19:20:42Z",
            finished="2026-11-23T19:21:24Z",
            duration_s=41.87,
            exit=exit_status,
            command=f"pytest --cni={cni.requested} -n 4",
            product="0.1.0",
        ),
        cni=cni,
        cluster=ClusterInfo(
            provider="lab" if emulated else "current",
            emulated=emulated,
            notes=("images are ignored: pods run from the host's file system",) if emulated else (),
            kubernetes="v1.33.2",
            context=f"lab-{cni.name}" if emulated else "staging-eu-1",
            nodes=tuple(nodes),
            families=("ipv4", "ipv6"),
            pod_cidrs=("10.244.0.0/16", "fd00:10:244::/56"),
            service_cidrs=("10.96.0.0/16",),
        ),
        environment=Environment(
            python="3.13.9",
            pytest="9.2.0",
            plugins={"cniconformance": "0.1.0", "xdist": "3.8.0", "allure-pytest": "2.16.2"},
            host="Linux 6.12.41 x86_64, 8 CPUs",
        ),
        vantage="a host outside the cluster, 172.30.2.1" if emulated else "the machine that ran pytest",
        checks=checks,
        convergence=pooled(found for check in checks for found in check.convergence),
    )


def _claims(**other: Claim) -> dict[str, Claim]:
    return {name: other.get(name, Claim.CLAIMED) for name in CATALOGUE}


@cache
def calico_run() -> RunRecord:
    """Everything that calico claims passes; L7 is not claimed."""
    cni = CniInfo(
        requested="calico",
        detected="calico",
        version="v3.31.2",
        claims=_claims(l7=Claim.NOT_CLAIMED),
        notes=("VXLAN, iptables dataplane",),
    )
    return _record(cni, _checks(_TRAITS, absent=["l7"]), exit_status=0, emulated=True)


@cache
def troubled_run() -> RunRecord:
    """Calico on a real cluster with one of every outcome."""
    changes = _TRAITS | {
        "NP-AND-1": {
            "outcome": Outcome.FAILED,
            "message": "2 of 243 cells leak: traffic that y/allow-x-a forbids went through",
            "evidence": _policy_evidence(leaks=[("x/b", "y/a"), ("z/c", "y/b")]),
            "details": "tests/…/netpol.py:88: in test_namespace_and_pod_selector_in_one_peer_are_anded\n    grid.expect()",
        },
        "NP-END-1": {
            "outcome": Outcome.NOT_ENFORCED,
            "message": "the API kept endPort and the dataplane admits the first port of the range only",
        },
        "NP-CIDR-1": {
            "outcome": Outcome.KNOWN_DEVIATION,
            "message": "ipBlock matches the address before NAT",
            "deviation": Deviation(
                reference="https://github.com/projectcalico/calico/issues/1",
                expires="2027-03-31",
                reason="documented behaviour of the VXLAN mode",
            ),
        },
        "DNS-EXT-1": {
            "outcome": Outcome.ERROR,
            "message": "pod z/c lost its exec stream twice: connection reset by peer",
        },
        "SVC-AFF-1": {"outcome": Outcome.FLAKY, "attempts": 2, "message": "passed on attempt 2"},
        "LB-SRC-1": {"outcome": Outcome.SKIPPED, "message": "deselected with -k"},
        "LAT-SVC-1": {
            "outcome": Outcome.INCONCLUSIVE,
            "message": "p99 of pod-to-service/cross-node: the interval crosses the limit",
            "evidence": {"measurements": latencies("pod-to-service", rounds=6, pod_us=900, seed=3)},
        },
    }
    cni = CniInfo(
        requested="calico", detected="calico", version="v3.31.2", claims=_claims(l7=Claim.NOT_CLAIMED)
    )
    return _record(cni, _checks(changes, absent=["l7"]), exit_status=1, emulated=False)


@cache
def flannel_run() -> RunRecord:
    """Flannel: connectivity works, NetworkPolicy is accepted and ignored."""
    changes: dict[str, dict[str, Any]] = {}
    for identifier, feature, _ in CATALOGUE["networkpolicy"][1]:
        if (
            feature in ("isolation", "peers", "ports", "endport", "ipblock", "lifecycle")
            and identifier != "NP-DEF-1"
        ):
            changes[identifier] = {
                "outcome": Outcome.NOT_ENFORCED,
                "message": "the API accepted y/allow-x-a; all 72 forbidden cells are open",
                "evidence": _policy_evidence(enforced=False),
            }
    cni = CniInfo(
        requested="flannel",
        detected="flannel",
        version="v0.27.4",
        claims=_claims(
            networkpolicy=Claim.NOT_ENFORCED, l7=Claim.NOT_CLAIMED, loadbalancer=Claim.NOT_CLAIMED
        ),
    )
    return _record(cni, _checks(changes, absent=["l7", "loadbalancer"]), exit_status=0, emulated=True)
