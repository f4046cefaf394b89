# SPDX-License-Identifier: Apache-2.0
"""The volumes of a pod: directories in the daemon's memory, which its containers bind-mount.

Files from the API lie in a dated directory behind the link ``..data``; an update makes a new directory and
swaps the link, so that readers see all of the old content or all of the new (as the kubelet does it).
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import namespace_of
from pytest_cniconformance.lab.node.context import ConfigError
from pytest_cniconformance.lab.node.environment import config_data, field_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.context import Cluster

_serial = itertools.count(1)
_FROM_API = ("configMap", "secret", "projected", "downwardAPI")


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    mode: int


class PodVolumes:
    """All volumes of one pod. ``prepare`` makes them, ``refresh`` follows changes of their sources."""

    def __init__(self, cluster: Cluster, pod: Obj, host_ips: Sequence[str]) -> None:
        self._cluster = cluster
        self._pod = pod
        self._host_ips = host_ips
        self._ips: Sequence[str] = ()
        self._directory = cluster.directory / pod["metadata"]["uid"] / "volumes"
        self._content: dict[str, dict[str, _File]] = {}
        self._tokens: dict[str, _File] = {}
        self._volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}

    def prepare(self, ips: Sequence[str]) -> None:
        """Create every volume. Raises ConfigError while a source is missing."""
        self._ips = ips
        for name in self._volumes:
            self._prepare(name)

    def refresh(self, pod: Obj) -> None:
        """Bring volumes from the API up to date; a source that has gone leaves the old content."""
        self._pod = pod
        for name in self._content:
            try:
                self._publish(name)
            except ConfigError:
                continue

    def source(self, name: str) -> tuple[Path, bool]:
        """Return where a volume lies in the daemon's view, and whether it is read-only by nature."""
        volume = self._volumes.get(name)
        if volume is None:
            raise ConfigError(f"volume {name!r} is not defined in the pod")
        if host := volume.get("hostPath"):
            return Path(host["path"]), False
        return self._directory / name, any(kind in volume for kind in _FROM_API)

    def remove(self) -> None:
        """Delete the files; host paths are left alone."""
        shutil.rmtree(self._directory.parent, ignore_errors=True)

    def _prepare(self, name: str) -> None:
        volume = self._volumes[name]
        if any(kind in volume for kind in _FROM_API):
            self._publish(name)
        elif "hostPath" in volume:
            path, kind = Path(volume["hostPath"]["path"]), volume["hostPath"].get("type", "")
            if not path.exists():
                raise ConfigError(
                    f"hostPath {path} does not exist (type {kind!r}); the lab creates nothing on the host"
                )
        elif "emptyDir" in volume or set(volume) == {"name"}:
            path = self._directory / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)
        else:
            kind = next(key for key in volume if key != "name")
            raise ConfigError(f"volume {name!r}: the lab has no volumes of type {kind}")

    def _publish(self, name: str) -> None:
        content = self._render(self._volumes[name])
        if self._content.get(name) == content:
            return
        base = self._directory / name
        base.mkdir(parents=True, exist_ok=True)
        base.chmod(0o755)
        fresh = base / f"..lab_{next(_serial)}"
        for path, file in content.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(file.mode)
        fresh.mkdir(exist_ok=True)
        link, previous = base / "..data", None
        if link.is_symlink():
            previous = base / link.readlink()
        swap = base / "..data_tmp"
        swap.symlink_to(fresh.name)
        swap.rename(link)
        tops = {path.split("/")[0] for path in content}
        for top in tops:
            if not (base / top).is_symlink():
                (base / top).symlink_to(f"..data/{top}")
        for stale in {path.split("/")[0] for path in self._content.get(name, {})} - tops:
            (base / stale).unlink(missing_ok=True)
        if previous is not None:
            shutil.rmtree(previous, ignore_errors=True)
        self._content[name] = content

    def _render(self, volume: Obj) -> dict[str, _File]:
        if source := volume.get("projected"):
            mode = source.get("defaultMode", 0o644)
            files: dict[str, _File] = {}
            for part in source.get("sources") or []:
                files |= self._source(part, mode)
            return files
        kind = next(kind for kind in _FROM_API if kind in volume)
        mode = volume[kind].get("defaultMode", 0o644)
        return self._source({kind: volume[kind]}, mode)

    def _source(self, source: Obj, mode: int) -> dict[str, _File]:
        if ref := source.get("configMap"):
            return self._keys("configmap", ref, ref["name"], mode)
        if ref := source.get("secret"):
            return self._keys("secret", ref, ref.get("secretName") or ref["name"], mode)
        if ref := source.get("downwardAPI"):
            return {item["path"]: self._field(item, mode) for item in ref.get("items") or []}
        if ref := source.get("serviceAccountToken"):
            path = ref.get("path", "token")
            known = self._tokens.get(path)
            if known is None:
                # Issued once: every refresh would otherwise be a change of the volume.
                known = self._tokens[path] = _File(self._cluster.token(self._pod).encode(), mode)
            return {path: known}
        raise ConfigError(f"unsupported projected source {next(iter(source), '')}")

    def _field(self, item: Obj, mode: int) -> _File:
        if "fieldRef" not in item:
            return _File(b"0", item.get("mode", mode))
        value = field_value(self._pod, item["fieldRef"]["fieldPath"], self._ips, self._host_ips)
        return _File(value.encode(), item.get("mode", mode))

    def _keys(self, kind: str, ref: Obj, name: str, mode: int) -> dict[str, _File]:
        optional = bool(ref.get("optional"))
        namespace = namespace_of(self._pod)
        data = config_data(self._cluster.store, namespace, kind, name, optional=optional)
        items = ref.get("items")
        if not items:
            return {key: _File(value, mode) for key, value in data.items()}
        files: dict[str, _File] = {}
        for item in items:
            if item["key"] in data:
                files[item["path"]] = _File(data[item["key"]], item.get("mode", mode))
            elif not optional:
                raise ConfigError(f"references non-existent config key: {item['key']}")
        return files
