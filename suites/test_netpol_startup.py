# SPDX-License-Identifier: Apache-2.0
"""The first instant of a pod under a policy that is in force: nothing forbidden may pass, in either direction."""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.startup import StartupBench

pytestmark = pytest.mark.netpol

LIFECYCLE = "https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle"


@requirement("NP-DYN-6-EGRESS", feature="networkpolicy/startup", source=LIFECYCLE)
def test_a_new_pod_sends_nothing_forbidden_from_its_first_packet(cni_startup: StartupBench) -> None:
    """A new pod is isolated for egress before its init container runs, and its allow rules follow."""
    cni_startup.egress()


@requirement("NP-DYN-6-INGRESS", feature="networkpolicy/startup", source=LIFECYCLE)
def test_a_new_pod_is_reached_by_nobody_forbidden_from_its_first_instant(cni_startup: StartupBench) -> None:
    """A new pod is isolated for ingress before its init container listens, and its allow rules follow."""
    cni_startup.ingress()
