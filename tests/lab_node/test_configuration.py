# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ASYNC110, ISC004
"""What a pod finds inside: environment, volumes, names, rights."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.node.rootfs import interpreter
from tests.lab_node.bench import Bench, on_bench

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj


def _config_map(bench: Bench, name: str, **data: str) -> None:
    metadata = {"name": name, "namespace": "default"}
    bench.store.create(
        "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


async def _cat(bench: Bench, pod: str, path: str) -> str:
    code, out, err = await bench.exec(pod, "cat", path)
    assert code == 0, err
    return out.decode()


def test_environment_from_every_source() -> None:
    async def check(bench: Bench) -> None:
        _config_map(bench, "settings", colour="red")
        secret = {"key": base64.b64encode(b"s3cret").decode()}
        metadata = {"name": "hidden", "namespace": "default"}
        bench.store.create(
            "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret}
        )
        service = {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}
        metadata = {"name": "kubernetes", "namespace": "default"}
        bench.store.create(
            "services", {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}
        )
        env: list[Obj] = [
            {"name": "PLAIN", "value": "x"},
            {"name": "COMPOSED", "value": "$(PLAIN)-$$(PLAIN)-$(UNKNOWN)"},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "key"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": True}}},
        ]
        for name, path in (
            ("NAME", "metadata.name"),
            ("SPACE", "metadata.namespace"),
            ("NODE", "spec.nodeName"),
            ("IP", "status.podIP"),
            ("HOST", "status.hostIP"),
            ("ROLE", "metadata.labels['role']"),
        ):
            env.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
        bench.pod("p", ["sh", "-c", "env; echo $0", "$(COLOUR)"], metadata={"labels": {"role": "web"}},
                  container={"env": env}, restartPolicy="Never")  # fmt: skip
        await bench.finished("p")
        lines = set((await bench.log("p")).split("\n"))
        assert lines >= {
            "PLAIN=x", "COMPOSED=x-$(PLAIN)-$(UNKNOWN)", "COLOUR=red", "KEY=s3cret", "NAME=p", "SPACE=default",
            "NODE=lab-worker1", "IP=10.244.1.2", "HOST=172.30.1.1", "ROLE=web", "HOSTNAME=p",
            "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "red",
        }  # fmt: skip
        assert not any(line.startswith("GONE=") for line in lines)

    on_bench(check)


def test_config_map_volumes_follow_changes_atomically() -> None:
    async def check(bench: Bench) -> None:
        _config_map(bench, "files", one="1", two="2")
        bench.pod(
            "p",
            volumes=[{"name": "v", "configMap": {"name": "files"}}],
            container={"volumeMounts": [{"name": "v", "mountPath": "/etc/app"}]},
        )
        await bench.ready("p")
        assert (await bench.exec("p", "ls", "/etc/app"))[1].split() == [b"one", b"two"]
        bench.store.modify(
            "configmaps", "default", "files", lambda obj: obj.update(data={"one": "new", "three": "3"})
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await bench.exec("p", "ls", "/etc/app"))[1].split() == [b"one", b"three"]
        assert await _cat(bench, "p", "/etc/app/one") == "new"
        code, _, err = await bench.exec("p", "touch", "/etc/app/x")
        assert code and b"Read-only" in err

    on_bench(check)


def test_a_pod_waits_for_a_missing_config_map() -> None:
    async def check(bench: Bench) -> None:
        bench.pod(
            "p",
            volumes=[{"name": "v", "configMap": {"name": "late"}}],
            container={"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "k"}]},
        )
        while not bench.events("FailedMount"):
            await asyncio.sleep(0.01)
        assert bench.get("p")["status"]["phase"] == "Pending"
        _config_map(bench, "late", k="now")
        await bench.ready("p")
        assert await _cat(bench, "p", "/v") == "now"

    on_bench(check)


def test_projected_token_and_downward_files() -> None:
    async def check(bench: Bench) -> None:
        base = "/var/run/secrets/kubernetes.io/serviceaccount"
        items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
        own = [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
        sources = [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": own}},
        ]
        _config_map(bench, "kube-root-ca.crt", **{"ca.crt": "CERTIFICATE"})
        bench.pod(
            "p",
            metadata={"labels": {"a": "b"}},
            volumes=[
                {"name": "d", "downwardAPI": {"items": items}},
                {"name": "e", "emptyDir": {}},
                {"name": "t", "projected": {"sources": sources}},
            ],
            container={
                "volumeMounts": [
                    {"name": "d", "mountPath": "/down"},
                    {"name": "e", "mountPath": "/usr/share/own/e"},
                    {"name": "t", "mountPath": base, "readOnly": True},
                ]
            },
        )
        await bench.ready("p")
        assert await _cat(bench, "p", f"{base}/token") == "token-of-default-default"
        assert await _cat(bench, "p", f"{base}/namespace") == "default"
        assert await _cat(bench, "p", f"{base}/ca.crt") == "CERTIFICATE"
        assert await _cat(bench, "p", "/down/labels") == 'a="b"'
        assert (await bench.exec("p", "sh", "-c", "echo x > /usr/share/own/e/f; cat /usr/share/own/e/f"))[
            1
        ] == b"x\n"

    on_bench(check)


def test_resolv_conf_by_policy_and_config() -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "first": (
            {},
            "search default.svc.cluster.local svc.cluster.local cluster.local\n"
            "nameserver 10.96.0.10\noptions ndots:5\n",
        ),
        "default": ({"dnsPolicy": "Default"}, "nameserver 172.30.2.1\n"),
        "none": (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.2.3.4"], "options": [{"name": "edns0"}]}},
            "nameserver 1.2.3.4\noptions edns0\n",
        ),
        "host": ({"hostNetwork": True}, "nameserver 172.30.2.1\n"),
    }

    async def check(bench: Bench) -> None:
        for name, (spec, _) in cases.items():
            bench.pod(name, **spec)
        await bench.ready(*cases)
        for name, (_, text) in cases.items():
            assert await _cat(bench, name, "/etc/resolv.conf") == text
        hosts = [{"ip": "9.9.9.9", "hostnames": ["nine", "neun"]}]
        bench.pod("aliased", hostAliases=hosts, hostname="h", subdomain="s")
        await bench.ready("aliased")
        text = await _cat(bench, "aliased", "/etc/hosts")
        assert "9.9.9.9\tnine\tneun\n" in text and "\th.s.default.svc.cluster.local\th\n" in text
        assert await _cat(bench, "aliased", "/etc/hostname") == "h\n"

    on_bench(check)


def test_the_search_path_fault() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        assert "svc.cluster.local" not in await _cat(bench, "p", "/etc/resolv.conf")

    on_bench(check, faults=["resolv-search-wrong"])


def test_the_address_faults() -> None:
    async def duplicate(bench: Bench) -> None:
        bench.pod("a", node=1)
        await bench.ready("a")
        bench.pod("b", node=2, hostNetwork=False)
        await bench.until("b", lambda pod: pod and pod["status"].get("podIP"))
        assert bench.get("a")["status"]["podIP"] == bench.get("b")["status"]["podIP"]

    async def outside(bench: Bench) -> None:
        bench.pod("a", node=1)
        await bench.ready("a")
        assert not bench.get("a")["status"]["podIP"].startswith("10.244.1.")

    on_bench(duplicate, nodes=2, faults=["pod-ip-duplicate"])
    on_bench(outside, faults=["pod-ip-outside-cidr"])


def test_security_contexts_are_applied() -> None:
    async def check(bench: Bench) -> None:
        restricted = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        bench.pod(
            "restricted",
            container={"securityContext": restricted},
            securityContext={"runAsUser": 65534, "runAsGroup": 1000, "fsGroup": 2000, "runAsNonRoot": True},
        )
        bench.pod("plain")
        bench.pod("mighty", container={"securityContext": {"privileged": True}})
        await bench.ready("restricted", "plain", "mighty")
        assert (await bench.exec("restricted", "sh", "-c", "id -u; id -g; id -G"))[
            1
        ] == b"65534\n1000\n1000 2000\n"
        status = await _cat(bench, "restricted", "/proc/self/status")
        assert "NoNewPrivs:\t1" in status and "CapBnd:\t0000000000000000" in status
        assert (await bench.exec("restricted", "touch", "/tmp/x"))[0] != 0
        assert "CapBnd:\t00000000a80425fb" in await _cat(bench, "plain", "/proc/self/status")
        assert (await bench.exec("plain", "ip", "link", "set", "lo", "down"))[0] != 0
        assert (await bench.exec("mighty", "ip", "link", "set", "lo", "down"))[0] == 0

    on_bench(check)


def test_run_as_non_root_without_a_user_is_refused() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p", securityContext={"runAsNonRoot": True})

        def refused(pod: Obj | None) -> bool:
            assert pod is not None
            state = (pod["status"].get("containerStatuses") or [{"state": {}}])[0]["state"].get("waiting", {})
            return state.get("reason") == "CreateContainerConfigError" and "runAsNonRoot" in state["message"]

        await bench.until("p", refused)

    on_bench(check)


def test_python3_is_the_interpreter_of_the_lab() -> None:
    prefix = Path(sys.base_prefix).resolve()

    async def check(bench: Bench) -> None:
        bench.pod("p", container={"securityContext": {"runAsUser": 65534}})
        await bench.ready("p")
        code = "import sys; print(sys.version); print(sys.base_prefix)"
        status, out, err = await bench.exec("p", "python3", "-I", "-c", code)
        assert status == 0, err
        assert out.decode() == f"{sys.version}\n{prefix}\n"
        _, out, _ = await bench.exec("p", "sh", "-c", "readlink -f $(command -v python3)")
        assert out.decode().strip() == interpreter()

    on_bench(check)


def test_the_host_is_out_of_reach() -> None:
    async def check(bench: Bench) -> None:
        bench.pod("p")
        await bench.ready("p")
        code, out, _ = await bench.exec(
            "p", "sh", "-c", "touch /usr/x /etc/x /x 2>&1; ls -A /root /home; hostname"
        )
        assert code == 0 and b"Read-only" in out
        assert out.split()[-1] == b"p"
        _, out, _ = await bench.exec("p", "sh", "-c", "ls /proc | grep -c '^[0-9]'; cat /proc/1/comm")
        processes, first = out.split()
        assert int(processes) < 6 and first == b"sleep"

    on_bench(check)
