# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.conftest import Api
from tests.lab_api.eventually import eventually
from tests.lab_api.fakes import FakeCluster
from tests.lab_api.makers import config, pod, policy, service

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def core(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def slices(api: Api, namespace: str, name: str = "s") -> list[Any]:
    found: list[Any] = api.ok(
        "GET",
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        params={"labelSelector": f"kubernetes.io/service-name={name}"},
    )["items"]
    return found


def addresses(api: Api, namespace: str, name: str = "s") -> dict[str, dict[str, bool]]:
    return {
        endpoint["targetRef"]["name"]: endpoint["conditions"]
        for one in slices(api, namespace, name)
        for endpoint in one["endpoints"]
    }


# --- namespaces ----------------------------------------------------------------------------------------------------


def test_a_namespace_is_completed(api: Api, namespace: str, core: str) -> None:
    made = api.ok("GET", f"/api/v1/namespaces/{namespace}")
    assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace
    assert made["spec"]["finalizers"] == ["kubernetes"]
    assert made["status"] == {"phase": "Active"}
    eventually(lambda: api("GET", core + "/serviceaccounts/default").ok)
    ca = eventually(lambda: api("GET", core + "/configmaps/kube-root-ca.crt"), lambda answer: answer.ok)
    assert ca.json()["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")


def test_a_deleted_namespace_takes_everything_with_it(api: Api, namespace: str, core: str) -> None:
    api.ok("POST", core + "/pods", pod("p"))
    held = config("held")
    held["metadata"]["finalizers"] = ["example.org/hold"]
    api.ok("POST", core + "/configmaps", held)
    marked = api.ok("DELETE", f"/api/v1/namespaces/{namespace}")
    assert marked["kind"] == "Namespace"
    assert marked["status"]["phase"] == "Terminating"
    refused = api.refused(403, "POST", core + "/configmaps", config("late"))
    assert "because it is being terminated" in refused["message"]
    assert refused["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    eventually(lambda: api("GET", core + "/pods/p").status_code, lambda code: code == 404)
    assert api("GET", f"/api/v1/namespaces/{namespace}").ok, "the finalizer holds it"
    api.patch(core + "/configmaps/held", {"metadata": {"finalizers": None}}, "merge-patch+json")
    eventually(lambda: api("GET", f"/api/v1/namespaces/{namespace}").status_code, lambda code: code == 404)


def test_objects_go_with_their_owner(api: Api, core: str) -> None:
    owner = api.ok("POST", core + "/configmaps", config("owner"))
    body = config("owned")
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    api.ok("POST", core + "/configmaps", body)
    body["metadata"]["name"] = "orphan"
    api.ok("POST", core + "/configmaps", body)
    api.patch(core + "/configmaps/orphan", {"metadata": {"ownerReferences": None}}, "merge-patch+json")
    api.ok("DELETE", core + "/configmaps/owner")
    eventually(lambda: api("GET", core + "/configmaps/owned").status_code, lambda code: code == 404)
    assert api("GET", core + "/configmaps/orphan").ok


# --- scheduler -----------------------------------------------------------------------------------------------------


def node_of(api: Api, core: str, name: str) -> str:
    made = eventually(lambda: api.ok("GET", f"{core}/pods/{name}"), lambda obj: obj["spec"].get("nodeName"))
    return str(made["spec"]["nodeName"])


def required_affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"nodeAffinity": required}


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelector": {"kubernetes.io/hostname": "lab-worker2"}},
        {
            "affinity": required_affinity(
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["lab-worker2"]}]}
            )
        },
        {
            "affinity": required_affinity(
                {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/hostname",
                            "operator": "NotIn",
                            "values": ["lab-worker1", "lab-worker3"],
                        }
                    ]
                }
            )
        },
        {"nodeName": "lab-worker2"},
    ],
)
def test_pods_go_where_they_ask_to(api: Api, core: str, spec: dict[str, Any]) -> None:
    api.ok("POST", core + "/pods", pod("p", **spec))
    assert node_of(api, core, "p") == "lab-worker2"


def test_anti_affinity_spreads_pods(api: Api, core: str) -> None:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    for number in range(3):
        api.ok("POST", core + "/pods", pod(f"p{number}", labels={"app": "web"}, affinity=affinity))
    assert {node_of(api, core, f"p{number}") for number in range(3)} == {f"lab-worker{n}" for n in (1, 2, 3)}
    api.ok("POST", core + "/pods", pod("p3", labels={"app": "web"}, affinity=affinity))
    waiting = eventually(
        lambda: api.ok("GET", core + "/pods/p3"), lambda obj: obj["status"].get("conditions")
    )
    (condition,) = waiting["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "Unschedulable",
    )
    assert condition["message"] == "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    api.ok("DELETE", core + "/pods/p0")
    node_of(api, core, "p3")


def test_an_unschedulable_pod_has_an_event(api: Api, core: str) -> None:
    created = api.ok("POST", core + "/pods", pod("p", nodeSelector={"no": "where"}))
    events = eventually(
        lambda: api.ok("GET", core + "/events", params={"fieldSelector": "involvedObject.name=p"})["items"]
    )
    assert events[0]["reason"] == "FailedScheduling"
    assert events[0]["involvedObject"]["uid"] == created["metadata"]["uid"]
    assert "didn't match Pod's node affinity/selector" in events[0]["message"]


# --- endpoints -----------------------------------------------------------------------------------------------------


def test_endpoints_follow_the_pods(api: Api, namespace: str, core: str) -> None:
    api.ok("POST", core + "/services", service(ports=[{"port": 80, "targetPort": "http"}]))
    (empty,) = eventually(lambda: slices(api, namespace))
    assert empty["endpoints"] == []
    api.ok("POST", core + "/pods", pod("a", labels={"app": "web"}))
    api.ok("POST", core + "/pods", pod("b", labels={"app": "web", "not-ready": ""}))
    found = eventually(lambda: addresses(api, namespace), lambda names: len(names) == 2)
    assert found["a"] == {"ready": True, "serving": True, "terminating": False}
    assert found["b"] == {"ready": False, "serving": False, "terminating": False}
    (one,) = slices(api, namespace)
    assert one["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    assert one["metadata"]["ownerReferences"][0]["kind"] == "Service"
    (subset,) = api.ok("GET", core + "/endpoints/s")["subsets"]
    assert len(subset["addresses"]) == len(subset["notReadyAddresses"]) == 1
    api.patch(core + "/pods/a", {"metadata": {"labels": {"app": None}}}, "merge-patch+json")
    eventually(lambda: addresses(api, namespace), lambda names: set(names) == {"b"})
    api.ok("DELETE", core + "/services/s")
    eventually(lambda: not slices(api, namespace) and api("GET", core + "/endpoints/s").status_code == 404)


@pytest.mark.parametrize("distribution", [None, "PreferClose"])
def test_endpoints_tell_their_zone_and_whom_they_are_for(
    api: Api, namespace: str, core: str, distribution: str | None
) -> None:
    api.ok("POST", core + "/services", service(trafficDistribution=distribution))
    api.ok("POST", core + "/pods", pod("a", labels={"app": "web"}))
    eventually(lambda: addresses(api, namespace), lambda names: len(names) == 1)
    (one,) = slices(api, namespace)
    zone = f"{one['endpoints'][0]['nodeName']}-zone"
    assert one["endpoints"][0]["zone"] == zone
    assert one["endpoints"][0].get("hints") == ({"forZones": [{"name": zone}]} if distribution else None)


def test_named_ports_are_resolved_per_pod(api: Api, namespace: str, core: str) -> None:
    other = pod("b", labels={"app": "web"})
    other["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "name": "http"}]
    api.ok("POST", core + "/pods", pod("a", labels={"app": "web"}))
    api.ok("POST", core + "/pods", other)
    api.ok("POST", core + "/services", service(ports=[{"port": 80, "targetPort": "http"}]))
    found = eventually(lambda: slices(api, namespace), lambda many: len(many) == 2)
    by_port = {one["ports"][0]["port"]: one["endpoints"][0]["targetRef"]["name"] for one in found}
    assert by_port == {80: "a", 8080: "b"}


def test_unready_addresses_can_be_published(api: Api, namespace: str, core: str) -> None:
    api.ok("POST", core + "/services", service(clusterIP="None", publishNotReadyAddresses=True))
    body = pod("b", labels={"app": "web", "not-ready": ""}, hostname="first", subdomain="s")
    api.ok("POST", core + "/pods", body)
    found = eventually(lambda: slices(api, namespace), lambda many: many and many[0]["endpoints"])
    (endpoint,) = found[0]["endpoints"]
    assert endpoint["conditions"]["ready"] is True
    assert endpoint["hostname"] == "first"
    assert found[0]["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_endpoints_made_by_hand_are_mirrored(api: Api, namespace: str, core: str) -> None:
    body = service()
    del body["spec"]["selector"]
    api.ok("POST", core + "/services", body)
    subset = {"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 8080}]}
    api.ok("POST", core + "/endpoints", {"metadata": {"name": "s"}, "subsets": [subset]})
    (one,) = eventually(lambda: slices(api, namespace))
    assert one["endpoints"] == [{"addresses": ["192.0.2.7"], "conditions": {"ready": True}}]
    assert one["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    api.ok("DELETE", core + "/endpoints/s")
    eventually(lambda: slices(api, namespace), lambda many: not many)


def test_the_api_has_a_service(api: Api) -> None:
    assert api.ok("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"] == "10.96.0.1"
    (one,) = slices(api, "default", "kubernetes")
    assert one["endpoints"][0]["addresses"] == ["172.30.0.1"]
    assert one["ports"][0]["port"] == 6443


# --- load balancers ------------------------------------------------------------------------------------------------

POOLS = "/apis/metallb.io/v1beta1/namespaces/{}/ipaddresspools"
ADVERTISEMENTS = "/apis/metallb.io/v1beta1/namespaces/{}/l2advertisements"


@pytest.fixture
def pool(api: Api, namespace: str) -> Iterator[str]:
    body = {"metadata": {"name": "pool"}, "spec": {"addresses": ["172.30.9.1-172.30.9.2"]}}
    api.ok("POST", POOLS.format(namespace), body)
    api.ok("POST", ADVERTISEMENTS.format(namespace), {"metadata": {"name": "all"}, "spec": {}})
    yield "pool"
    api.ok("DELETE", f"/api/v1/namespaces/{namespace}/services")  # the next test wants these addresses
    api.ok("DELETE", POOLS.format(namespace) + "/pool")


def balancer(name: str, **spec: Any) -> dict[str, Any]:
    return service(name, type="LoadBalancer", **spec)


def address_of(api: Api, core: str, name: str) -> str:
    made = eventually(
        lambda: api.ok("GET", f"{core}/services/{name}"),
        lambda obj: obj["status"]["loadBalancer"].get("ingress"),
    )
    (ingress,) = made["status"]["loadBalancer"]["ingress"]
    return str(ingress["ip"])


def test_a_load_balancer_gets_an_address_from_the_pool(api: Api, core: str, pool: str) -> None:
    api.ok("POST", core + "/services", balancer("a"))
    assert address_of(api, core, "a") == "172.30.9.1"
    made = api.ok("GET", core + "/services/a")
    assert made["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"] == "pool"
    assert "lab.cniconformance/announced-by" not in made["metadata"]["annotations"], (
        "nothing is ready behind it"
    )
    api.ok("POST", core + "/pods", pod("p", labels={"app": "web"}))
    made = eventually(
        lambda: api.ok("GET", core + "/services/a"),
        lambda obj: obj["metadata"]["annotations"].get("lab.cniconformance/announced-by"),
    )
    assert made["metadata"]["annotations"]["lab.cniconformance/announced-by"].startswith("lab-worker")


def test_an_exhausted_pool_leaves_the_service_pending(api: Api, core: str, pool: str) -> None:
    for name in "abc":
        api.ok("POST", core + "/services", balancer(name))
    eventually(
        lambda: [
            event["message"]
            for event in api.ok("GET", core + "/events", params={"fieldSelector": "reason=AllocationFailed"})[
                "items"
            ]
        ],
        lambda messages: any(message.endswith("no available IPs") for message in messages),
    )
    assert "ingress" not in api.ok("GET", core + "/services/c")["status"]["loadBalancer"]
    api.ok("DELETE", core + "/services/a")
    assert address_of(api, core, "c") == "172.30.9.1"
    api.patch(core + "/services/c", {"spec": {"type": "ClusterIP"}}, "merge-patch+json")
    eventually(
        lambda: api.ok("GET", core + "/services/c")["status"]["loadBalancer"], lambda status: status == {}
    )


def test_a_service_may_ask_for_an_address_and_share_it(api: Api, core: str, pool: str) -> None:
    asked = {"metallb.io/loadBalancerIPs": "172.30.9.2", "metallb.io/allow-shared-ip": "key"}
    for name, port in (("a", 80), ("b", 81)):
        body = balancer(name, ports=[{"port": port}])
        body["metadata"]["annotations"] = asked
        api.ok("POST", core + "/services", body)
    assert address_of(api, core, "a") == address_of(api, core, "b") == "172.30.9.2"


def test_local_traffic_is_announced_where_the_pods_are(api: Api, core: str, pool: str) -> None:
    api.ok("POST", core + "/pods", pod("p", labels={"app": "web"}, nodeName="lab-worker3"))
    api.ok("POST", core + "/services", balancer("a", externalTrafficPolicy="Local"))
    eventually(
        lambda: api.ok("GET", core + "/services/a")["metadata"].get("annotations") or {},
        lambda found: found.get("lab.cniconformance/announced-by") == "lab-worker3",
    )


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["endpoints-include-dead", "endpoints-unready-included", "lb-no-address", "lb-wrong-pool"]
)
def test_faults_show_in_the_objects(tmp_path: Any, fault: str) -> None:
    with FakeCluster(tmp_path, faults=frozenset({fault})) as cluster:
        api = Api(cluster)
        core = "/api/v1/namespaces/default"
        eventually(lambda: api(("GET"), core + "/serviceaccounts/default").ok)
        body = {"metadata": {"name": "pool"}, "spec": {"addresses": ["172.30.9.0/30"]}}
        api.ok("POST", POOLS.format("default"), body)
        api.ok("POST", core + "/pods", pod("a", labels={"app": "web"}))
        api.ok("POST", core + "/pods", pod("b", labels={"app": "web", "not-ready": ""}))
        api.ok("POST", core + "/services", balancer("s"))
        if fault == "endpoints-include-dead":
            found = eventually(lambda: addresses(api, "default"), lambda names: len(names) == 3)
            assert found["gone"]["ready"]
        elif fault == "endpoints-unready-included":
            eventually(lambda: addresses(api, "default"), lambda found: found.get("b", {}).get("ready"))
        elif fault == "lb-wrong-pool":
            assert address_of(api, core, "s") == "172.30.9.4"
        else:
            eventually(lambda: addresses(api, "default"), lambda found: len(found) == 2)
            assert api.ok("GET", core + "/services/s")["status"]["loadBalancer"] == {}
        api.session.close()


def test_policies_need_no_controller(api: Api, namespace: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    created = api.ok("POST", path, policy())
    assert created["metadata"]["generation"] == 1
    assert "status" not in created
