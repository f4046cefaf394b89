# SPDX-License-Identifier: Apache-2.0
"""The texts are those of the real API server: suites read them, and so do people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab_api.makers import config, pod, policy, restricted_pod, service

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api

BLOCK = {"cidr": "10.0.0.0/8"}


def ingress(**rule: Any) -> dict[str, Any]:
    return policy("bad", ingress=[rule])


def peer(**fields: Any) -> dict[str, Any]:
    return ingress(**{"from": [fields]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (peer(), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (peer(podSelector=None), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (
            peer(podSelector={}, ipBlock=BLOCK),
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        (
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}),
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
        ),
        (
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}),
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
        ),
        (
            peer(ipBlock={"cidr": "10.0.0"}),
            (
                'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0": must be a valid CIDR value, '
                "(e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ),
        ),
        (peer(ipBlock={}), "spec.ingress[0].from[0].ipBlock.cidr: Required value"),
        (
            ingress(ports=[{"port": 80, "endPort": 79}]),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
        ),
        (
            ingress(ports=[{"endPort": 79}]),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified",
        ),
        (
            ingress(ports=[{"port": "web", "endPort": 79}]),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric",
        ),
        (
            ingress(ports=[{"port": 65536}]),
            "spec.ingress[0].ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive",
        ),
        (
            ingress(ports=[{"port": 80, "protocol": "ICMP"}]),
            'spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            policy("bad", policyTypes=["Ingress", "Sideways"]),
            'spec.policyTypes[1]: Unsupported value: "Sideways": supported values: "Egress", "Ingress"',
        ),
        (
            policy("bad", policyTypes=["Ingress", "Egress", "Ingress"]),
            'spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes',
        ),
        (
            policy("bad", podSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
            (
                "spec.podSelector.matchExpressions[0].values: Required value: "
                "must be specified when `operator` is 'In' or 'NotIn'"
            ),
        ),
        (
            policy(
                "bad", podSelector={"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}
            ),
            'spec.podSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator',
        ),
    ],
)
def test_network_policies_that_the_api_refuses(api: Api, namespace: str, body: Any, message: str) -> None:
    at = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    refused = api.refused(422, "POST", at, body)
    assert refused["message"] == f'NetworkPolicy.networking.k8s.io "bad" is invalid: {message}'
    assert refused["reason"] == "Invalid"
    cause = refused["details"]["causes"][0]
    assert message == f"{cause['field']}: {cause['message']}"
    assert refused["details"]["group"] == "networking.k8s.io"


def test_several_errors_are_listed(api: Api, namespace: str) -> None:
    body = policy("bad", ingress=[{"ports": [{"port": 0}, {"port": 70000}]}])
    at = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    refused = api.refused(422, "POST", at, body)
    assert refused["message"].startswith(
        'NetworkPolicy.networking.k8s.io "bad" is invalid: [spec.ingress[0].ports[0].port:'
    )
    assert len(refused["details"]["causes"]) == 2


@pytest.mark.parametrize(
    ("body", "types"),
    [
        (policy(), ["Ingress"]),
        (policy(egress=[]), ["Ingress"]),
        (policy(egress=[{}]), ["Ingress", "Egress"]),
        (policy(policyTypes=["Egress"]), ["Egress"]),
    ],
)
def test_policy_types_are_defaulted(api: Api, namespace: str, body: Any, types: list[str]) -> None:
    at = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    assert api.ok("POST", at, body)["spec"]["policyTypes"] == types


def with_container(**fields: Any) -> dict[str, Any]:
    body = pod("bad")
    body["spec"]["containers"][0].update(fields)
    return body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (pod("bad", containers=[]), "spec.containers: Required value"),
        (with_container(image=""), "spec.containers[0].image: Required value"),
        (
            with_container(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
            'spec.containers[0].ports[1].name: Duplicate value: "a"',
        ),
        (
            with_container(ports=[{"containerPort": 70000}]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            with_container(ports=[{"containerPort": 80, "name": "a-very-long-port-name"}]),
            (
                'spec.containers[0].ports[0].name: Invalid value: "a-very-long-port-name": '
                "must be no more than 15 characters"
            ),
        ),
        (
            with_container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            pod("bad", dnsPolicy="Sometimes"),
            (
                'spec.dnsPolicy: Unsupported value: "Sometimes": supported values: '
                '"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"'
            ),
        ),
    ],
)
def test_pods_that_the_api_refuses(api: Api, namespace: str, body: Any, message: str) -> None:
    refused = api.refused(422, "POST", f"/api/v1/namespaces/{namespace}/pods", body)
    assert refused["message"] == f'Pod "bad" is invalid: {message}'


def test_names_and_labels_are_checked(api: Api, namespace: str) -> None:
    at = f"/api/v1/namespaces/{namespace}/configmaps"
    refused = api.refused(422, "POST", at, config("Upper_Case"))
    assert (
        'metadata.name: Invalid value: "Upper_Case": a lowercase RFC 1123 subdomain must consist of'
        in refused["message"]
    )
    body = config("a")
    body["metadata"]["labels"] = {"x": "-no-"}
    assert (
        'metadata.labels: Invalid value: "-no-": a valid label must be'
        in api.refused(422, "POST", at, body)["message"]
    )
    refused = api.refused(422, "POST", "/api/v1/namespaces", {"metadata": {"name": "a.b"}})
    assert "a lowercase RFC 1123 label must consist of" in refused["message"]


def test_pod_defaults_are_those_of_the_real_api(api: Api, namespace: str) -> None:
    created = api.ok("POST", f"/api/v1/namespaces/{namespace}/pods", pod("p"))
    spec = created["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert [one["key"] for one in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    (container,) = spec["containers"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"][0]["protocol"] == "TCP"
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["path"] == "token"
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    bare = api.ok(
        "POST", f"/api/v1/namespaces/{namespace}/pods", pod("q", automountServiceAccountToken=False)
    )
    assert "volumes" not in bare["spec"]


def test_a_pod_keeps_its_spec(api: Api, namespace: str) -> None:
    api.ok("POST", f"/api/v1/namespaces/{namespace}/pods", pod("p"))
    at = f"/api/v1/namespaces/{namespace}/pods/p"
    response = api.patch(at, {"spec": {"hostNetwork": True}}, "merge-patch+json")
    assert response.status_code == 422
    assert "spec: Forbidden: pod updates may not change fields other than" in response.json()["message"]
    assert api.patch(at, {"metadata": {"labels": {"a": "b"}}}, "merge-patch+json").ok


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_levels(api: Api, namespace: str, level: str) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
    api.patch(f"/api/v1/namespaces/{namespace}", labels, "merge-patch+json")
    at = f"/api/v1/namespaces/{namespace}/pods"
    api.ok("POST", at, restricted_pod("good"))
    refused = api.refused(403, "POST", at, pod("bad", hostNetwork=True))
    start = (
        f'pods "bad" is forbidden: violates PodSecurity "{level}:latest": host namespaces (hostNetwork=true)'
    )
    assert refused["message"].startswith(start)
    assert refused["reason"] == "Forbidden"
    if level == "baseline":
        api.ok("POST", at, pod("plain"))


def test_the_restricted_message_is_the_real_one(api: Api, namespace: str) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    api.patch(f"/api/v1/namespaces/{namespace}", labels, "merge-patch+json")
    refused = api.refused(403, "POST", f"/api/v1/namespaces/{namespace}/pods", pod("bad"))
    assert refused["message"] == (
        'pods "bad" is forbidden: violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )


def test_immutable_config_maps_stay(api: Api, namespace: str) -> None:
    at = f"/api/v1/namespaces/{namespace}/configmaps"
    api.ok("POST", at, {**config("a", x="1"), "immutable": True})
    refused = api.refused(422, "PUT", at + "/a", {**config("a", x="2"), "immutable": True})
    assert (
        refused["message"]
        == 'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )


def test_service_names_are_stricter(api: Api, namespace: str) -> None:
    refused = api.refused(422, "POST", f"/api/v1/namespaces/{namespace}/services", service("1st"))
    assert "a DNS-1035 label must consist of lower case alphanumeric characters" in refused["message"]
