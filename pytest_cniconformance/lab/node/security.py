# SPDX-License-Identifier: Apache-2.0
"""Who a container runs as and what it may do, from the security contexts of pod and container."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.node.context import ConfigError

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj

# In the kernel's order: a capability's number is its place here.
_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_CAPABILITIES = _NAMES.split()
# What containerd leaves to a container that asks for nothing.
_DEFAULT_NAMES = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT
KILL AUDIT_WRITE
"""
_DEFAULT = frozenset(_DEFAULT_NAMES.split())


@dataclass(frozen=True, slots=True)
class Identity:
    """The rights of a container's processes."""

    uid: int | None
    gid: int | None
    groups: list[int]
    capabilities: list[int] | None
    no_new_privs: bool
    readonly_root: bool
    sysctls: dict[str, str]


def identity(pod: Obj, container: Obj) -> Identity:
    """Merge the two security contexts. Raises ConfigError for runAsNonRoot without a user."""
    outer = pod["spec"].get("securityContext") or {}
    inner = container.get("securityContext") or {}
    merged = {**outer, **inner}
    uid = merged.get("runAsUser")
    if merged.get("runAsNonRoot") and not uid:
        raise ConfigError(
            "container has runAsNonRoot and image will run as root: the lab ignores images and their users, "
            f"so give container {container['name']} a runAsUser"
        )
    gid = merged.get("runAsGroup")
    if gid is None and uid is not None:
        gid = _primary_group(uid)
    groups = [*(outer.get("supplementalGroups") or [])]
    if outer.get("fsGroup") is not None:
        groups.append(outer["fsGroup"])
    privileged = bool(inner.get("privileged"))
    return Identity(
        uid=uid,
        gid=gid,
        groups=groups,
        capabilities=None if privileged else _capabilities(inner.get("capabilities") or {}),
        no_new_privs=inner.get("allowPrivilegeEscalation") is False,
        readonly_root=bool(inner.get("readOnlyRootFilesystem")),
        sysctls={entry["name"]: entry["value"] for entry in outer.get("sysctls") or []},
    )


def _capabilities(wanted: Obj) -> list[int]:
    kept = set(_DEFAULT)
    dropped = {name.removeprefix("CAP_") for name in wanted.get("drop") or []}
    kept = set() if "ALL" in dropped else kept - dropped
    added = {name.removeprefix("CAP_") for name in wanted.get("add") or []}
    kept = set(_CAPABILITIES) if "ALL" in added else kept | added
    return sorted(_CAPABILITIES.index(name) for name in kept if name in _CAPABILITIES)


def _primary_group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return 0  # what container runtimes use for a user that the image does not know
