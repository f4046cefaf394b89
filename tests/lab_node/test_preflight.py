# SPDX-License-Identifier: Apache-2.0
"""A machine that cannot run a lab is told so in one message, with what to do."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil

import pytest

from pytest_cniconformance.lab import preflight
from pytest_cniconformance.lab.errors import LabError


def test_everything_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabError) as caught:
        preflight.check_tools()
    text = str(caught.value)
    assert "ip, nft" in text and "apt-get install iproute2 nftables" in text
    assert "aiohttp" in text and "pip install 'pytest-cniconformance[lab]'" in text


@pytest.mark.parametrize(
    ("uid", "switch", "value", "advice"),
    [
        (0, "", "", "--privileged"),
        (1000, "max_user_namespaces", "0", "sysctl -w user.max_user_namespaces"),
        (1000, "apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        (1000, "", "", "run as root"),
    ],
)
def test_refused_namespaces_come_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, uid: int, switch: str, value: str, advice: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(preflight, "_read", lambda path: value if switch and path.endswith(switch) else "")
    error = OSError(errno.EPERM, os.strerror(errno.EPERM))
    assert advice in str(preflight.explain_namespaces(error))


def test_a_refused_mount_names_the_place() -> None:
    error = OSError(errno.EPERM, os.strerror(errno.EPERM), "/proc")
    assert "/proc" in str(preflight.explain_mount(error))
