# SPDX-License-Identifier: Apache-2.0
"""One declarative profile per CNI: how to recognise it, what it claims, where it is known to deviate."""

from __future__ import annotations

from pytest_cniconformance.cni.detect import Detected, Hints, detect
from pytest_cniconformance.cni.loader import known_profiles, load_profile, parse_profile
from pytest_cniconformance.cni.profile import CAPABILITIES, Claim, CniProfile, Deviation, Statement

__all__ = [
    "CAPABILITIES",
    "Claim",
    "CniProfile",
    "Detected",
    "Deviation",
    "Hints",
    "Statement",
    "detect",
    "known_profiles",
    "load_profile",
    "parse_profile",
]
