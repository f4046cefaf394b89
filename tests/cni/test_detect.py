# SPDX-License-Identifier: Apache-2.0
"""A CNI is recognised by what it runs, and by what it leaves behind only when nothing runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_cniconformance.cni import Detected, detect


@dataclass(frozen=True)
class Traces:
    """The traces as the connection layer gives them."""

    daemonsets: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    crds: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    config: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("daemonset", "name"),
    [
        ("kube-flannel/kube-flannel-ds", "flannel"),
        ("calico-system/calico-node", "calico"),
        ("kube-system/calico-node", "calico"),
        ("kube-system/cilium", "cilium"),
        ("kube-system/canal", "canal"),
        ("kube-system/antrea-agent", "antrea"),
        ("kube-system/kube-router", "kube-router"),
        ("kube-system/weave-net", "weave"),
        ("openshift-ovn-kubernetes/ovnkube-node", "ovn-kubernetes"),
        ("kube-system/aws-node", "aws-vpc-cni"),
        ("kube-system/azure-npm", "azure"),
        ("kube-system/kindnet", "kindnet"),
    ],
)
def test_its_daemonset_gives_a_cni_away(daemonset: str, name: str) -> None:
    found = detect(Traces(daemonsets=("kube-system/kube-proxy", daemonset)))
    assert found == Detected(name, "", (f"DaemonSet {daemonset}",))


def test_nothing_known_is_nothing() -> None:
    assert detect(Traces()) is None
    assert detect({"daemonsets": ["kube-system/kube-proxy"], "crds": ["cert-manager.io"]}) is None


def test_leftovers_of_another_cni_do_not_count_while_one_runs() -> None:
    """After a migration the old CNI's API groups and annotations stay (cilium/cilium#34486)."""
    traces = Traces(
        daemonsets=("kube-system/cilium",),
        crds=("crd.projectcalico.org",),
        annotations=("projectcalico.org/IPv4Address",),
    )
    found = detect(traces)
    assert found is not None
    assert found.name == "cilium"


@pytest.mark.parametrize(
    ("traces", "name", "evidence"),
    [
        (Traces(annotations=("flannel.alpha.coreos.com/public-ip",)), "flannel", "node annotation"),
        (Traces(config={"kube-system/cilium-config": "tunnel"}), "cilium", "ConfigMap"),
        (
            Traces(crds=("projectcalico.org", "crd.projectcalico.org")),
            "calico",
            "API group projectcalico.org",
        ),
        (Traces(crds=("ciliumnetworkpolicies.cilium.io",)), "cilium", "API group"),
    ],
)
def test_other_traces_count_when_daemonsets_may_not_be_read(traces: Traces, name: str, evidence: str) -> None:
    found = detect(traces)
    assert found is not None
    assert found.name == name
    assert found.evidence[0].startswith(evidence)


@pytest.mark.parametrize(
    ("below", "above", "name"),
    [
        ("kube-system/aws-node", "kube-system/cilium", "cilium"),
        ("kube-system/aws-node", "calico-system/calico-node", "calico"),
        ("kube-flannel/kube-flannel-ds", "kube-system/cilium", "cilium"),
    ],
)
def test_of_chained_cnis_the_one_on_top_counts(below: str, above: str, name: str) -> None:
    found = detect(Traces(daemonsets=(below, above)))
    assert found is not None
    assert found.name == name


def test_a_second_cni_that_is_not_chained_is_mentioned() -> None:
    found = detect(Traces(daemonsets=("kube-system/weave-net", "kube-system/kube-router")))
    assert found is not None
    assert found.evidence[1].startswith("also DaemonSet")


@pytest.mark.parametrize(
    ("daemonset", "image", "version"),
    [
        ("kube-system/cilium", "quay.io/cilium/cilium:v1.20.1@sha256:0123", "1.20.1"),
        ("kube-system/calico-node", "docker.io/calico/node:v3.32.0", "3.32.0"),
        ("kube-flannel/kube-flannel-ds", "ghcr.io/flannel-io/flannel:v0.27.0", "0.27.0"),
        ("kube-flannel/kube-flannel-ds", "ghcr.io/flannel-io/flannel-cni-plugin:v1.7.1-flannel1", ""),
        ("kube-system/cilium", "registry:5000/cilium/cilium:latest", ""),
    ],
)
def test_the_version_is_that_of_the_cnis_own_image(daemonset: str, image: str, version: str) -> None:
    found = detect(Traces(daemonsets=(daemonset,), images=("registry.k8s.io/kube-proxy:v1.36.0", image)))
    assert found is not None
    assert found.version == version


def test_raw_daemonsets_are_read_too() -> None:
    template: dict[str, Any] = {"spec": {"containers": [{"image": "quay.io/cilium/cilium:v1.19.2"}]}}
    daemonset = {"metadata": {"namespace": "kube-system", "name": "cilium"}, "spec": {"template": template}}
    found = detect({"daemonsets": [daemonset]})
    assert found is not None
    assert (found.name, found.version) == ("cilium", "1.19.2")
