# SPDX-License-Identifier: Apache-2.0
"""What a machine needs for a lab, checked before anything is made."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from pytest_cniconformance.lab.errors import LabError

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))
_TOOLS = {"ip": "iproute2", "nft": "nftables"}
_MODULES = ("aiohttp", "dnslib", "jsonschema_rs", "kubernetes_validate", "trustme")


def check_tools() -> None:
    """Raise LabError, naming everything that is missing and how to get it."""
    problems = []
    packages = [package for tool, package in _TOOLS.items() if shutil.which(tool, path=_PATH) is None]
    if packages:
        tools = ", ".join(tool for tool, package in _TOOLS.items() if package in packages)
        names = " ".join(packages)
        problems.append(f"the programs {tools} are missing: install them with `apt-get install {names}`")
    modules = [module for module in _MODULES if importlib.util.find_spec(module) is None]
    if modules:
        problems.append(
            f"the Python modules {', '.join(modules)} are missing: "
            "install them with `pip install 'pytest-cniconformance[lab]'`"
        )
    if problems:
        raise LabError("; ".join(problems))


def explain_namespaces(error: OSError) -> LabError:
    """Turn the kernel's refusal to make namespaces into advice."""
    text = f"this machine does not let {_who()} create namespaces ({error.strerror})"
    for path, bad, advice in (
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        if os.geteuid() != 0 and _read(path) == bad:
            return LabError(f"{text}; allow it with `sudo {advice}`, or run as root")
    if os.geteuid() == 0:
        return LabError(
            f"{text}; in a container, run it with --privileged (or --cap-add SYS_ADMIN,NET_ADMIN)"
        )
    return LabError(f"{text}; run as root, or allow unprivileged user namespaces")


def explain_mount(error: OSError) -> LabError:
    """Turn the kernel's refusal to mount into advice."""
    restricted = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
    advice = (
        "allow it with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run as root"
        if restricted
        else "in a container, run it with --privileged; elsewhere, run as root"
    )
    return LabError(
        f"{_who()} may make namespaces here but not mount {error.filename} ({error.strerror}); {advice}"
    )


def _who() -> str:
    return "root" if os.geteuid() == 0 else "this user"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
