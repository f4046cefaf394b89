# SPDX-License-Identifier: Apache-2.0
"""Faults that the lab can be started with: each mimics a real defect and names what must see it."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault
from pytest_cniconformance.lab.faults.registry import FAULTS, Active

__all__ = ["FAULTS", "Active", "Fault"]
