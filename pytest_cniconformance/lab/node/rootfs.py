# SPDX-License-Identifier: Apache-2.0
# Plain strings and os calls: this runs in a forked child on the hot path.
# ruff: noqa: PTH101, PTH102, PTH103, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211
"""The file system of a container: the host's own, read-only, with fresh places to write.

Images are ignored, so a container sees the programs of the host. It must neither change the host's files nor
read people's home directories; both are kept out here. ``build_template`` runs once per lab, ``build_root``
once per container, in its own mount namespace.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import Mount

TEMPLATE = "/run/lab/image"
_ROOT = "/run/lab/root"
_HARMLESS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_FRESH = frozenset(("proc", "sys", "dev", "run", "tmp", "root", "home", "mnt", "media", "boot", "lost+found"))
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_OWN_FILES = ("resolv.conf", "hosts", "hostname")
_HIDDEN_PARENTS = ("/root", "/home", "/mnt", "/media", "/run", "/tmp")


PYTHON_PATH = "/etc/.lab/bin"
"""Where containers find ``python3``: the interpreter of the lab itself, whatever the host calls that name."""


def interpreter() -> str:
    """Return the real interpreter behind any virtual environment."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())


def container_path(system: str) -> str:
    """Return the PATH of containers; ``system`` is what follows the lab's own interpreter."""
    return f"{PYTHON_PATH}:{Path(interpreter()).parent}:{system}"


def build_template() -> None:
    """Prepare what all containers share: read-only views of the host, /dev and /etc."""
    Path(_ROOT).mkdir(parents=True, exist_ok=True)
    Path(TEMPLATE).mkdir(parents=True, exist_ok=True)
    syscalls.mount("lab-image", TEMPLATE, "tmpfs", syscalls.MS_NOSUID, "mode=755")
    for entry in os.scandir("/"):
        target = f"{TEMPLATE}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir() and entry.name not in _FRESH and entry.name != "etc":
            _bind_readonly(entry.path, target)
    prefix = str(Path(sys.base_prefix).resolve())
    if prefix.startswith(tuple(f"{parent}/" for parent in _HIDDEN_PARENTS)):
        # Its own place keeps the interpreter's idea of its prefix; fresh parents let any uid pass through.
        _bind_readonly(prefix, TEMPLATE + prefix)
    _build_etc(f"{TEMPLATE}/etc")
    _build_dev(f"{TEMPLATE}/dev")


def _bind_readonly(source: str, target: str) -> None:
    os.makedirs(target, 0o755, exist_ok=True)
    try:
        syscalls.bind(source, target)
    except PermissionError:
        return  # e.g. an autofs or FUSE directory of somebody else; containers do without it
    syscalls.make_readonly(target)


def _build_etc(target: str) -> None:
    """Mirror /etc by symbolic links, so that a container's own three files can stand beside the host's.

    Binding over /etc/resolv.conf would fail where it is a link into /run.
    """
    os.mkdir(target, 0o755)
    host = f"{TEMPLATE}/.host-etc"
    _bind_readonly("/etc", host)
    for entry in os.scandir("/etc"):
        if entry.name in _OWN_FILES:
            continue
        link = os.readlink(entry.path) if entry.is_symlink() else f"/.host-etc/{entry.name}"
        os.symlink(link, f"{target}/{entry.name}")
    for name in _OWN_FILES:
        Path(target, name).touch()
    # The host's python3 may be another version than the lab's, or not be there at all.
    programs = target + PYTHON_PATH.removeprefix("/etc")
    os.makedirs(programs, 0o755)
    os.symlink(interpreter(), f"{programs}/python3")


def _build_dev(target: str) -> None:
    os.mkdir(target, 0o755)
    for name in _DEVICES:
        Path(target, name).touch()
        syscalls.bind(f"/dev/{name}", f"{target}/{name}")
    for name, link in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        os.symlink(link, f"{target}/{name}")
    os.mkdir(f"{target}/shm", 0o1777)
    os.chmod(f"{target}/shm", 0o1777)  # mkdir obeys the umask
    Path(target, "termination-log").touch()


def build_root(mounts: Sequence[Mount], *, readonly: bool) -> None:
    """Make the calling process see a container's file system; it must own its mount and PID namespaces."""
    syscalls.make_private()
    syscalls.mount("container", _ROOT, "tmpfs", _HARMLESS, "mode=755,size=512m")
    for entry in os.scandir(TEMPLATE):
        target = f"{_ROOT}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.name in _FRESH and entry.name != "dev":
            _mirror_hidden(entry.path, target)
        else:
            os.mkdir(target, 0o755)
            syscalls.bind(entry.path, target)
    for name in ("proc", "sys", "run", "tmp", "root", "home", "mnt", "media"):
        os.makedirs(f"{_ROOT}/{name}", 0o755, exist_ok=True)
    os.chmod(f"{_ROOT}/tmp", 0o1777)
    syscalls.mount("proc", f"{_ROOT}/proc", "proc", _HARMLESS | syscalls.MS_NOEXEC)
    try:
        syscalls.mount("sysfs", f"{_ROOT}/sys", "sysfs", syscalls.MS_RDONLY)
    except OSError:
        pass  # refused where /sys is masked (rootless in a container); nothing in a pod depends on it
    syscalls.mount("shm", f"{_ROOT}/dev/shm", "tmpfs", _HARMLESS, "mode=1777")
    if os.path.isdir(f"{_ROOT}/var/tmp"):
        syscalls.bind(f"{_ROOT}/tmp", f"{_ROOT}/var/tmp")
    for mount in mounts:
        _mount(mount)
    if readonly:
        syscalls.make_readonly(_ROOT, recursive=False)
    syscalls.switch_root(_ROOT)


def _mirror_hidden(source: str, target: str) -> None:
    """Recreate directories that only lead to a bind mount, and bind that mount."""
    if os.path.ismount(source):
        os.mkdir(target, 0o755)
        syscalls.bind(source, target)
        return
    os.mkdir(target, 0o755)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            _mirror_hidden(entry.path, f"{target}/{entry.name}")


def _mount(mount: Mount) -> None:
    # Links such as /var/run -> /run must be followed inside the container, not on the host.
    target = _resolve_inside(mount["target"])
    _ensure_mountpoint(target, is_dir=os.path.isdir(mount["source"]))
    syscalls.bind(mount["source"], target)
    if mount["readonly"]:
        syscalls.make_readonly(target)


def _resolve_inside(path: str, depth: int = 0) -> str:
    resolved = _ROOT
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for index, part in enumerate(parts):
        if part == "..":
            resolved = os.path.dirname(resolved) if resolved != _ROOT else _ROOT
            continue
        step = f"{resolved}/{part}"
        if os.path.islink(step) and depth < 40:
            link = os.readlink(step)
            base = "" if link.startswith("/") else resolved.removeprefix(_ROOT)
            return _resolve_inside("/".join((base, link, *parts[index + 1 :])), depth + 1)
        resolved = step
    return resolved


def _ensure_mountpoint(target: str, *, is_dir: bool) -> None:
    if os.path.exists(target):
        return
    directory = target if is_dir else os.path.dirname(target)
    existing = directory
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        _overlay(existing)
    os.makedirs(directory, 0o755, exist_ok=True)
    if not is_dir:
        Path(target).touch()


def _overlay(directory: str) -> None:
    """Make a read-only directory of the host writable for this container alone."""
    work = f"{_ROOT}/.lab{directory.removeprefix(_ROOT)}"
    os.makedirs(f"{work}/upper", 0o755)
    os.makedirs(f"{work}/work", 0o755)
    syscalls.mount(
        "overlay", directory, "overlay", 0, f"lowerdir={directory},upperdir={work}/upper,workdir={work}/work"
    )
