# SPDX-License-Identifier: Apache-2.0
"""The pytest entry point: options, ini keys and markers, and nothing else until ``--cni`` is given.

Imports only the standard library and pytest, so that having the plugin installed costs nothing.
Everything that runs lives in :mod:`pytest_cniconformance.session`, loaded when a run is active.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from pytest_cniconformance.options import AUTHOR_FIXTURES, MARKERS, OPTIONS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option three ways: command line, ini file, environment."""
    group = parser.getgroup("cni", "Kubernetes CNI conformance")
    for option in OPTIONS:
        kwargs: dict[str, object] = {"dest": option.dest, "default": None, "help": option.help}
        if option.many:
            kwargs["action"] = "append"
        if option.choices:
            kwargs["choices"] = option.choices
        if option.metavar:
            kwargs["metavar"] = option.metavar
        group.addoption(option.flag, **kwargs)
        parser.addini(option.dest, f"{option.help} (also {option.flag}, {option.env})", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; with ``--cni`` hand over to the session package."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    import os

    if config.getoption("cni_name") == "":
        # Mostly an unset variable of a pipeline: all checks would be skipped, and the run would pass.
        raise pytest.UsageError("--cni= names no CNI: use --cni=calico, --cni=auto, … (see pytest --help)")
    chosen = config.getoption("cni_name") or os.environ.get("CNI_NAME") or config.getini("cni_name")
    if chosen:
        from pytest_cniconformance.session import activate

        activate(config)
    else:
        config.pluginmanager.register(_stand_ins(), "cniconformance-stand-ins")


def _skip_without_cluster() -> None:
    pytest.skip("needs a cluster: run with --cni=NAME (see --cni-cluster)")


def _stand_ins() -> ModuleType:
    """Return a plugin whose fixtures make the checks that ask for them skip instead of fail at set-up."""
    module = ModuleType("cniconformance_stand_ins")
    for name in AUTHOR_FIXTURES:
        setattr(module, name, pytest.fixture(name=name)(_skip_without_cluster))
    return module
