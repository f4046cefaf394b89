# SPDX-License-Identifier: Apache-2.0
"""The Linux system calls that containers need and that Python 3.11 does not offer.

``os.unshare`` and ``os.setns`` exist from Python 3.12 on, ``mount`` and ``pivot_root`` never did.
Every function raises OSError with the errno of the call and the path it was about.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CAP_LAST = 40

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
# The same numbers on every architecture: calls added since 2019 share one table.
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, *about: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *about[:1])


def unshare(flags: int) -> None:
    """Give this process namespaces of its own (for CLONE_NEWPID: its future children)."""
    _check(_libc.unshare(flags))


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespace of ``fd``: a namespace file, or a pidfd together with ``flags``."""
    _check(_libc.setns(fd, flags))


def enter_netns(name: str) -> None:
    """Join a network namespace given by name (below /run/netns) or by path."""
    fd = os.open(name if "/" in name else f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system, or change how one is attached."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None
    )
    _check(result, target)


def bind(source: str, target: str, *, recursive: bool = True) -> None:
    """Make ``source`` appear at ``target`` too; read-only mounts stay read-only."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def make_private() -> None:
    """Stop mounts made here from showing anywhere else, and the other way round."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def make_readonly(path: str, *, recursive: bool = True) -> None:
    """Turn a mount read-only, with all mounts below it unless told otherwise (Linux 5.12 and newer)."""
    attr = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(path.encode()),
        ctypes.c_uint(flags),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    _check(result, path)


def switch_root(path: str) -> None:
    """Make ``path`` (a mount point) the root of this mount namespace and drop the old one."""
    os.chdir(path)
    # pivot_root(".", ".") stacks the old root on the new one, so no directory is needed to park it in.
    _check(_libc.syscall(ctypes.c_long(_SYS_PIVOT_ROOT[os.uname().machine]), b".", b"."), path)
    _check(_libc.umount2(b".", MNT_DETACH), path)
    os.chdir("/")


def umount(path: str) -> None:
    """Detach a mount, lazily."""
    _check(_libc.umount2(path.encode(), MNT_DETACH), path)


def sethostname(name: str) -> None:
    """Name this UTS namespace."""
    raw = name.encode()
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))))


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def drop_capabilities(keep: frozenset[int]) -> None:
    """Remove every capability outside ``keep`` from the bounding set, so that no exec can regain it."""
    for capability in range(CAP_LAST + 1):
        if capability not in keep:
            try:
                prctl(PR_CAPBSET_DROP, capability)
            except OSError:
                if os.geteuid() == 0:
                    raise
