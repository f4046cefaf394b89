# SPDX-License-Identifier: Apache-2.0
"""Corefiles as they are found on clusters, read for what must resolve."""

from __future__ import annotations

import pytest

from pytest_cniconformance.kube.dnsconfig import DnsConfig, Stub, parse_corefile

KUBEADM = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
}
"""


def test_a_plain_cluster_has_no_stub_zone() -> None:
    assert parse_corefile(KUBEADM) == DnsConfig("insecure", ())


@pytest.mark.parametrize("key", ["ml-legacy.local:53", "dns://ML-legacy.local.", "ml-legacy.local"])
def test_a_block_of_its_own_is_a_stub_zone(key: str) -> None:
    text = KUBEADM + f"{key} {{\n  forward . 10.0.0.53 10.0.0.54 # enterprise\n}}\n"
    assert parse_corefile(text).stubs == (Stub("ml-legacy.local", ("10.0.0.53", "10.0.0.54")),)


def test_a_forward_of_one_zone_within_the_main_block_is_a_stub_zone() -> None:
    text = KUBEADM.replace(
        "    cache 30", "    forward ml-legacy.local 10.244.0.10 {\n max_concurrent 100\n }\n"
    )
    assert parse_corefile(text).stubs == (Stub("ml-legacy.local", ("10.244.0.10",)),)


def test_several_zones_of_one_block_are_several_stubs() -> None:
    text = "a.example,\nb.example:5300 {\n forward . tls://9.9.9.9\n}\n"
    text += "10.0.0.0/8 {\n forward . 10.0.0.1\n}\n(snippet) {\n}\n"
    assert [stub.zone for stub in parse_corefile(text).stubs] == ["a.example", "b.example"]


def test_pod_names_are_off_unless_the_file_says_so() -> None:
    assert parse_corefile(". {\n kubernetes cluster.local\n}\n").pods == "disabled"
    assert parse_corefile("") == DnsConfig()
