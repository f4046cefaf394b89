# SPDX-License-Identifier: Apache-2.0
"""How the processes of a pod are set up: environment, mounts, rights, and the files that name things."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.node import resolv
from pytest_cniconformance.lab.node.command import command_line
from pytest_cniconformance.lab.node.context import ConfigError
from pytest_cniconformance.lab.node.environment import container_env, expand
from pytest_cniconformance.lab.node.security import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster
    from pytest_cniconformance.lab.node.spec import Mount, Process, Sandbox
    from pytest_cniconformance.lab.node.volumes import PodVolumes

_TERMINATION_LOG = "/dev/termination-log"


class Blueprint:
    """Turns the containers of one pod into processes that the zygote can start."""

    def __init__(
        self,
        cluster: Cluster,
        volumes: PodVolumes,
        pod: Obj,
        node: str,
        host_ips: Sequence[str],
        ips: Sequence[str],
        netns: str,
    ) -> None:
        self._cluster, self._volumes, self._node = cluster, volumes, node
        self._host_ips, self._ips, self._netns = host_ips, ips, netns
        self._directory = cluster.directory / pod["metadata"]["uid"]

    def write_files(self, pod: Obj) -> None:
        """Write the pod's resolv.conf, hosts and hostname."""
        etc = self._directory / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        hostname = resolv.hostname_of(pod, self._node)
        (etc / "hostname").write_text(f"{hostname}\n")
        (etc / "hosts").write_text(resolv.hosts_file(pod, self._ips, hostname))
        (etc / "resolv.conf").write_text(
            resolv.resolv_conf(
                pod,
                cluster_dns=self._cluster.cluster_dns,
                upstream=self._cluster.upstream_dns,
                faults=self._cluster.faults,
            )
        )

    def termination_message(self, container: Obj) -> str:
        """Read and clear what the container left in its termination log (4096 bytes at most)."""
        path = self._directory / f"termination-{container['name']}"
        try:
            text: str = path.read_bytes()[:4096].decode(errors="replace")
            os.truncate(path, 0)
        except OSError:
            return ""
        return text

    def process(self, pod: Obj, container: Obj) -> Process:
        """Put together the container's process. Raises ConfigError."""
        env = self._env(pod, container)
        who = identity(pod, container)
        sandbox: Sandbox = {
            "hostname": resolv.hostname_of(pod, self._node),
            "mounts": self._mounts(container, env),
            "uid": who.uid,
            "gid": who.gid,
            "groups": who.groups,
            "capabilities": who.capabilities,
            "no_new_privs": who.no_new_privs,
            "readonly_root": who.readonly_root,
            "sysctls": {} if pod["spec"].get("hostNetwork") else who.sysctls,
        }
        return {
            "argv": command_line(container, env),
            "env": env,
            "cwd": container.get("workingDir") or "/",
            "netns": self._netns,
            "sandbox": sandbox,
        }

    def _env(self, pod: Obj, container: Obj) -> dict[str, str]:
        env = {
            "PATH": self._cluster.path,
            "HOSTNAME": resolv.hostname_of(pod, self._node),
            "HOME": "/root",
        }
        if (identity(pod, container).uid or 0) != 0:
            env["HOME"] = "/"
        return env | container_env(self._cluster.store, pod, container, self._ips, self._host_ips)

    def _mounts(self, container: Obj, env: dict[str, str]) -> list[Mount]:
        etc = self._directory / "etc"
        mounts: list[Mount] = [
            {"source": str(etc / name), "target": f"/etc/{name}", "readonly": False}
            for name in ("resolv.conf", "hosts", "hostname")
        ]
        log = self._directory / f"termination-{container['name']}"
        log.touch()
        log.chmod(0o666)
        target = container.get("terminationMessagePath") or _TERMINATION_LOG
        mounts.append({"source": str(log), "target": target, "readonly": False})
        wanted = list(container.get("volumeMounts") or [])
        # Parents first, so that a volume inside another volume's path stays visible.
        for mount in sorted(wanted, key=lambda mount: mount["mountPath"].count("/")):
            source, readonly = self._volumes.source(mount["name"])
            sub = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if sub:
                inside = (source / sub).resolve()
                if not inside.is_relative_to(source.resolve()):
                    raise ConfigError(f"subPath {sub!r} leaves its volume")
                if not inside.exists() and not readonly:
                    inside.mkdir(parents=True)
                source = inside
            if not source.exists():
                raise ConfigError(f"volume {mount['name']!r} has no {sub!r}")
            readonly = readonly or bool(mount.get("readOnly"))
            mounts.append({"source": str(source), "target": mount["mountPath"], "readonly": readonly})
        return mounts
