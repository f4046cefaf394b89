# SPDX-License-Identifier: Apache-2.0
"""Wiring: which hook objects an active run registers, in the controller and in xdist workers."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.session.checks import CheckHooks
from pytest_cniconformance.session.controller import ControllerHooks
from pytest_cniconformance.session.run import RUN, Run
from pytest_cniconformance.session.selection import Selection
from pytest_cniconformance.session.settings import SETTINGS, resolve


def suites_directory() -> Path:
    """Return the folder of the bundled suites, in the wheel or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    wheel = package / "suites"
    return wheel if wheel.is_dir() else package.parent / "suites"


def activate(config: pytest.Config) -> None:
    """Register the hooks of an active run; choose the bundled suites when no path was given."""
    try:
        settings = resolve(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        # A worker sees the original arguments only, and must draw from the seed that the controller chose.
        settings = replace(settings, seed=worker_input["cniconformance-seed"])
    config.stash[SETTINGS] = settings
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        # In workers too: xdist hands them the original arguments, not what the controller collected.
        config.args[:] = [str(suites_directory())]
    manager = config.pluginmanager
    manager.import_plugin("pytest_cniconformance.fixtures.plugin")
    manager.import_plugin("pytest_cniconformance.fixtures.randomized.plugin")
    manager.register(CheckHooks(config, settings), "cniconformance-checks")
    if worker_input is not None:
        manager.register(_Worker(config), "cniconformance-worker")
        config.stash[RUN] = Run.attach(settings, worker_input["cniconformance"], worker_input["workerid"])
        return
    controller = ControllerHooks(config, settings)
    manager.register(controller, "cniconformance-controller")
    if manager.hasplugin("xdist"):
        manager.register(_Workers(config), "cniconformance-workers")
    _terminate_cleanly()


class _Worker:
    """Tells the controller, from an xdist worker, what the selection left out."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._selection = Selection(config)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count."""
        self._selection.left_out(items)

    def pytest_sessionfinish(self) -> None:
        """Tell."""
        self._selection.tell(self._config.workeroutput)  # type: ignore[attr-defined]


class _Workers:
    """Hands the run to xdist workers; registered only where xdist is there."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Give a starting worker what it needs to attach to the run."""
        run = self._config.stash[RUN]
        worker_input: dict[str, object] = node.workerinput  # type: ignore[attr-defined]
        worker_input |= {"cniconformance": run.payload(), "cniconformance-seed": run.settings.seed}


def _terminate_cleanly() -> None:
    """Turn SIGTERM into the interrupt that pytest knows how to unwind, so that clean-up runs."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"signal {signum}")

    try:
        signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        pass  # not the main thread: whoever runs pytest in a thread owns the signals
