# SPDX-License-Identifier: Apache-2.0
"""Probing: the agent that runs in pods, its sessions, verdicts with evidence, the observed matrix.

``Fleet`` holds the agents; ``Fleet.probe`` asks them; ``PodMatrix`` observes and settles a truth table;
``calibrate`` finds the window in which silence may read as a drop. ``probe.external`` asks by HTTP from where pytest
runs; it is not imported here, for ``requests`` takes longer to import than all the rest.
"""

from pytest_cniconformance.probe.calibrate import calibrate
from pytest_cniconformance.probe.fleet import Fleet
from pytest_cniconformance.probe.matrix import PodMatrix, Settled, Target
from pytest_cniconformance.probe.session import AgentError, AgentSession, Greeting, SessionLost
from pytest_cniconformance.probe.transport import (
    ExecOpener,
    ExecStream,
    ExecTransport,
    ProcessTransport,
    Transport,
    TransportClosed,
)
from pytest_cniconformance.probe.window import Window
from pytest_cniconformance.probe.workload import agent_config_map, probe_pod

__all__ = [
    "AgentError",
    "AgentSession",
    "ExecOpener",
    "ExecStream",
    "ExecTransport",
    "Fleet",
    "Greeting",
    "PodMatrix",
    "ProcessTransport",
    "SessionLost",
    "Settled",
    "Target",
    "Transport",
    "TransportClosed",
    "Window",
    "agent_config_map",
    "calibrate",
    "probe_pod",
]
