# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.store import Store
from pytest_cniconformance.lab.api.writes import Writes
from tests.lab_api.makers import service

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api


@pytest.fixture
def at(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


def test_a_service_is_completed(api: Api, at: str) -> None:
    spec = api.ok("POST", at, service())["spec"]
    assert ipaddress.ip_address(spec["clusterIP"]) in ipaddress.ip_network("10.96.0.0/16")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert {
        name: spec[name] for name in ("type", "sessionAffinity", "internalTrafficPolicy", "ipFamilyPolicy")
    } == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
    }
    assert spec["ipFamilies"] == ["IPv4"]


def test_headless_and_external_names_have_no_address(api: Api, at: str) -> None:
    assert api.ok("POST", at, service("h", clusterIP="None"))["spec"]["clusterIPs"] == ["None"]
    body = service("e", type="ExternalName", externalName="example.org")
    assert "clusterIP" not in api.ok("POST", at, body)["spec"]


def test_an_address_is_given_once(api: Api, at: str) -> None:
    taken = api.ok("POST", at, service("a"))["spec"]["clusterIP"]
    refused = api.refused(422, "POST", at, service("b", clusterIP=taken))
    assert refused["message"] == (
        f'Service "b" is invalid: spec.clusterIPs: Invalid value: ["{taken}"]: '
        f"failed to allocate IP {taken}: provided IP is already allocated"
    )
    outside = api.refused(422, "POST", at, service("b", clusterIP="192.0.2.1"))
    assert "The range of valid IPs is 10.96.0.0/16" in outside["message"]
    api.ok("DELETE", at + "/a")
    assert api.ok("POST", at, service("b", clusterIP=taken))["spec"]["clusterIP"] == taken


def test_the_cluster_ip_stays(api: Api, at: str) -> None:
    created = api.ok("POST", at, service("a"))
    changed = api.patch(at + "/a", {"spec": {"clusterIP": "10.96.77.77"}}, "merge-patch+json")
    assert changed.status_code == 422
    assert (
        'spec.clusterIPs[0]: Invalid value: "10.96.77.77": may not change once set'
        in changed.json()["message"]
    )
    body = service("a", port=81)
    body["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"]
    assert api.ok("PUT", at + "/a", body)["spec"]["clusterIP"] == created["spec"]["clusterIP"]


def test_node_ports(api: Api, at: str) -> None:
    given = api.ok("POST", at, service("a", type="NodePort"))["spec"]["ports"][0]["nodePort"]
    assert 30000 <= given <= 32767
    taken = service("b", type="NodePort", ports=[{"port": 80, "nodePort": given}])
    refused = api.refused(422, "POST", at, taken)
    assert refused["message"].endswith(
        f"spec.ports[0].nodePort: Invalid value: {given}: provided port is already allocated"
    )
    outside = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 80}])
    assert "The range of valid ports is 30000-32767" in api.refused(422, "POST", at, outside)["message"]
    udp = service("b", type="NodePort", ports=[{"port": 80, "nodePort": given, "protocol": "UDP"}])
    api.ok("POST", at, udp)
    plain = api.patch(at + "/a", {"spec": {"type": "ClusterIP"}}, "merge-patch+json").json()
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in plain["spec"]


def test_a_local_load_balancer_has_a_health_check_port(api: Api, at: str) -> None:
    spec = api.ok("POST", at, service(type="LoadBalancer", externalTrafficPolicy="Local"))["spec"]
    assert 30000 <= spec["healthCheckNodePort"] <= 32767
    assert spec["allocateLoadBalancerNodePorts"] is True
    changed = api.patch(at + "/s", {"spec": {"externalTrafficPolicy": "Cluster"}}, "merge-patch+json").json()
    assert "healthCheckNodePort" not in changed["spec"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (service(ports=[]), "spec.ports: Required value"),
        (
            service(ports=[{"port": 0, "targetPort": 80}]),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (service(ports=[{"port": 1}, {"port": 2, "name": "b"}]), "spec.ports[0].name: Required value"),
        (
            service(type="Cloud"),
            (
                'spec.type: Unsupported value: "Cloud": supported values: '
                '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
            ),
        ),
        (service(type="ExternalName"), "spec.externalName: Required value"),
        (
            service(externalTrafficPolicy="Local"),
            (
                'spec.externalTrafficPolicy: Invalid value: "Local": '
                "may only be set for externally-accessible services"
            ),
        ),
        (
            service(ipFamilyPolicy="RequireDualStack"),
            (
                'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
                "this cluster is not configured for dual-stack services"
            ),
        ),
        (
            service(ipFamilies=["IPv6"]),
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
    ],
)
def test_services_that_the_api_refuses(api: Api, at: str, body: Any, message: str) -> None:
    assert api.refused(422, "POST", at, body)["message"] == f'Service "s" is invalid: {message}'


def test_affinity_has_a_timeout(api: Api, at: str) -> None:
    spec = api.ok("POST", at, service(sessionAffinity="ClientIP"))["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_dual_stack_clusters_give_two_addresses() -> None:
    writes = Writes(Store(), families=("IPv4", "IPv6"))
    writes.create_object({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})

    def create(name: str, **spec: Any) -> dict[str, Any]:
        body = service(name, **spec)
        body["metadata"]["namespace"] = "default"
        created: dict[str, Any] = writes.create_object(body)["spec"]
        return created

    single = create("single")
    assert single["ipFamilies"] == ["IPv4"]
    dual = create("dual", ipFamilyPolicy="PreferDualStack")
    assert dual["ipFamilies"] == ["IPv4", "IPv6"]
    assert [ipaddress.ip_address(one).version for one in dual["clusterIPs"]] == [4, 6]
    six = create("six", ipFamilies=["IPv6"])
    assert ipaddress.ip_address(six["clusterIP"]).version == 6
    with pytest.raises(ApiError, match="Duplicate value"):
        create("twice", ipFamilies=["IPv6", "IPv6"])
