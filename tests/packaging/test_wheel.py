# SPDX-License-Identifier: Apache-2.0
"""The wheel carries everything under one package name, and the plugin works from it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # A copy: setuptools leaves build/ and *.egg-info beside what it builds.
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
        ".",
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [built] = target.glob("*.whl")
    return built


def test_nothing_at_top_level_but_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pytest_cniconformance"}


@pytest.mark.parametrize(
    "name",
    [
        "suites/test_netpol_isolation.py",
        "fixtures/plugin.py",
        "kind_configs/calico.yaml",
        "report/report.schema.json",
        "report/templates/report.html.j2",
        "measure/profiles/default.toml",
        "cni/profiles/flannel.toml",
        "probe/run_agent.py",
        "probe/agent/__main__.py",
        "py.typed",
    ],
)
def test_data_and_mapped_folders_are_in(wheel: Path, name: str) -> None:
    assert f"pytest_cniconformance/{name}" in zipfile.ZipFile(wheel).namelist()


def test_the_plugin_collects_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cni=calico", "--collect-only", "-q"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_netpol_isolation.py::test_policies_add_up" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import pytest_cniconformance.suites as s; print(s.__path__[0])"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed))


def test_every_package_is_listed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = {
        path.parent.relative_to(ROOT) for path in (ROOT / "pytest_cniconformance").rglob("__init__.py")
    }
    assert {f"{folder}/__init__.py" for folder in folders} <= names
