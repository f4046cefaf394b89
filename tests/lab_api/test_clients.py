# SPDX-License-Identifier: Apache-2.0
"""The clients that the product and its users have, unchanged."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import kubernetes
import pykube
import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.stream import stream

from tests.lab_api import makers
from tests.lab_api.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab_api.fakes import FakeCluster


@pytest.fixture
def kube(cluster: FakeCluster) -> Iterator[Any]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.rest_client.pool_manager.clear()
    with contextlib.suppress(AttributeError):
        made.close()


@pytest.fixture
def running(kube: Any, namespace: str) -> str:
    core = client.CoreV1Api(kube)
    eventually(lambda: core.list_namespaced_service_account(namespace).items)
    core.create_namespaced_pod(namespace, makers.pod("p", labels={"app": "web"}))

    def is_ready() -> bool:
        conditions = core.read_namespaced_pod("p", namespace).status.conditions or []
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    eventually(is_ready)
    return "p"


def test_typed_objects_parse(kube: Any, namespace: str, running: str) -> None:
    core = client.CoreV1Api(kube)
    made = core.create_namespaced_service(namespace, makers.service())
    assert made.spec.cluster_ip.startswith("10.96.")
    assert [one.metadata.name for one in core.list_namespaced_pod(namespace).items] == ["p"]
    assert len(core.list_node().items) == 3
    assert core.list_namespace().items
    assert core.list_namespaced_event(namespace).items
    networking = client.NetworkingV1Api(kube)
    assert networking.create_namespaced_network_policy(namespace, makers.policy()).spec.policy_types == [
        "Ingress"
    ]
    discovery = client.DiscoveryV1Api(kube)
    found = eventually(
        lambda: discovery.list_namespaced_endpoint_slice(namespace).items,
        lambda many: many and many[0].endpoints,
    )
    assert found[0].endpoints[0].target_ref.name == "p"
    assert core.read_namespaced_endpoints("s", namespace).subsets
    assert client.VersionApi(kube).get_code().major == "1"
    assert client.RbacAuthorizationV1Api(kube).list_cluster_role().items
    assert client.ApiextensionsV1Api(kube).list_custom_resource_definition().items
    core.delete_namespaced_pod("p", namespace)


# ApiException of kubernetes before 34 asks urllib3 for what 2.0 deprecates.
@pytest.mark.filterwarnings("ignore:HTTPResponse.getheaders:DeprecationWarning")
def test_typed_models_can_be_sent(kube: Any, namespace: str) -> None:
    core = client.CoreV1Api(kube)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="typed"), data={"a": "b"})
    assert core.create_namespaced_config_map(namespace, body).data == {"a": "b"}
    with pytest.raises(client.ApiException) as caught:
        core.create_namespaced_config_map(namespace, body)
    assert caught.value.status == 409


def test_the_dynamic_client(kube: Any, namespace: str) -> None:
    dyn = dynamic.DynamicClient(kube)
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    applied = maps.server_side_apply(
        body=makers.config("dyn", a="b"), namespace=namespace, field_manager="test", force_conflicts=True
    )
    assert applied.data.to_dict() == {"a": "b"}
    pools = dyn.resources.get(api_version="metallb.io/v1beta1", kind="IPAddressPool")
    assert pools.get(namespace=namespace).items == []


def test_watch(kube: Any, namespace: str) -> None:
    core = client.CoreV1Api(kube)
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, makers.config("seen"))
    follower = watch.Watch()
    for event in follower.stream(
        core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=10
    ):
        if event["object"].metadata.name == "seen":
            assert event["type"] == "ADDED"
            follower.stop()


def run(kube: Any, namespace: str, *argv: str, **options: Any) -> Any:
    core = client.CoreV1Api(kube)
    flags: dict[str, Any] = {
        "stdin": False,
        "stdout": True,
        "stderr": True,
        "tty": False,
        "_preload_content": False,
    }
    return stream(
        core.connect_get_namespaced_pod_exec, "p", namespace, command=list(argv), **(flags | options)
    )


def test_exec_tells_streams_and_exit_code_apart(kube: Any, namespace: str, running: str) -> None:
    session = run(kube, namespace, "sh", "-c", "echo out; echo err >&2; exit 7")
    session.run_forever(timeout=10)
    assert session.read_stdout() == "out\n"
    assert session.read_stderr() == "err\n"
    assert session.returncode == 7
    session.sock.shutdown()  # the client's own close() does nothing once the server has closed


def test_exec_reads_stdin(kube: Any, namespace: str, running: str) -> None:
    session = run(kube, namespace, "sh", "-c", "read line; echo got $line", stdin=True)
    session.write_stdin("hello\n")
    session.run_forever(timeout=10)
    assert session.read_stdout() == "got hello\n"
    assert session.returncode == 0
    session.sock.shutdown()  # the client's own close() does nothing once the server has closed


def test_a_command_dies_with_its_connection(
    kube: Any, cluster: FakeCluster, namespace: str, running: str
) -> None:
    cluster.agents.killed.clear()
    session = run(kube, namespace, "sh", "-c", "echo here; exec sleep 600")
    assert session.readline_stdout(timeout=10) == "here"
    session.close()
    assert cluster.agents.killed.wait(10)


def test_exec_refusals(kube: Any, namespace: str, running: str) -> None:
    core = client.CoreV1Api(kube)
    with pytest.raises(client.ApiException) as caught:
        stream(core.connect_get_namespaced_pod_exec, "absent", namespace, command=["true"], stdout=True)
    assert caught.value.status in (0, 404)
    with pytest.raises(client.ApiException, match="container other is not valid for pod p"):
        stream(
            core.connect_get_namespaced_pod_exec,
            "p",
            namespace,
            command=["true"],
            container="other",
            stdout=True,
        )


def test_logs(kube: Any, namespace: str, running: str) -> None:
    core = client.CoreV1Api(kube)
    assert core.read_namespaced_pod_log("p", namespace, tail_lines=2) == "line 3\nline 4\n"


def test_pykube(cluster: FakeCluster, namespace: str) -> None:
    api = pykube.HTTPClient(pykube.KubeConfig.from_file(str(cluster.kubeconfig)))
    body = makers.config("pykube", a="b")
    body["metadata"]["namespace"] = namespace
    made = pykube.ConfigMap(api, body)
    made.create()
    assert made.exists()
    made.obj["data"] = {"a": "c"}
    made.update()
    assert [one.name for one in pykube.ConfigMap.objects(api, namespace=namespace).filter(selector={})]
    pool_class = pykube.object_factory(api, "metallb.io/v1beta1", "IPAddressPool")
    assert list(pool_class.objects(api, namespace=namespace)) == []
    made.delete()
    assert not made.exists()
    api.session.close()


def test_the_version_under_test_is_known() -> None:
    assert int(kubernetes.__version__.partition(".")[0]) >= 31
