# SPDX-License-Identifier: Apache-2.0
"""Every deadline of a run, named, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines in seconds; all but ``policy_unseen`` are upper limits of a wait for an event, none is a sleep.

    ``--cni-timeout-scale`` multiplies them for slow clusters.
    """

    request: float = 30.0
    """One API request, retries not counted."""
    retry_for: float = 30.0
    """How long 429, 5xx and dropped connections are retried."""
    pod_ready: float = 180.0
    """From creating a pod to Ready, image pull included."""
    exec_open: float = 20.0
    """Opening an exec stream and the agent's greeting."""
    policy_settle: float = 30.0
    """How long a policy may take to become effective before a mismatch counts."""
    policy_settle_unclaimed: float = 5.0
    """The same where the CNI's profile claims no enforcement."""
    policy_unseen: float = 1.0
    """How long the matrix must stay as expected after a change of policies that no pair of pods can show."""
    service_settle: float = 30.0
    """How long a Service, its endpoints or its name may take to become effective."""
    load_balancer: float = 60.0
    """From creating a LoadBalancer Service to its address."""
    drop_window_min: float = 0.3
    """The shortest window in which silence may read as a drop."""
    drop_window_max: float = 3.0
    """The longest such window, for slow paths."""
    delete: float = 60.0
    """Waiting for an object to be gone, where the check needs it gone."""

    def scaled(self, factor: float) -> Timeouts:
        """Return the same deadlines times ``factor``.

        Below 1 only those shrink that end in a verdict on the CNI. The others end in errors of the cluster or the
        prober, and in windows shorter than their defaults silence would read as a drop too soon.
        """
        return Timeouts(
            **{
                f.name: getattr(self, f.name) * (factor if f.name in _VERDICTS else max(factor, 1.0))
                for f in fields(self)
            }
        )


_VERDICTS = ("policy_settle", "policy_settle_unclaimed", "service_settle", "load_balancer")
