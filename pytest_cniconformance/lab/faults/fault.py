# SPDX-License-Identifier: Apache-2.0
"""One fault, as data."""

from __future__ import annotations

from dataclasses import dataclass

ALL_PROFILES = ("flannel", "calico", "cilium")
POLICY_PROFILES = ("calico", "cilium")
L7_PROFILES = ("cilium",)


@dataclass(frozen=True, slots=True)
class Fault:
    """A defect that the lab can show on demand.

    ``mimics`` names the real issue (repository#number or URL) or says what it stands for; ``caught_by`` are
    the requirement ids of which at least one must fail; ``profiles`` are the dataplane profiles that can show it,
    ``families`` the address families that the lab needs for it.
    """

    name: str
    area: str
    summary: str
    mimics: str
    caught_by: tuple[str, ...]
    profiles: tuple[str, ...] = ALL_PROFILES
    families: tuple[str, ...] = ("ipv4",)


def policy_fault(
    name: str,
    summary: str,
    mimics: str,
    *caught_by: str,
    profiles: tuple[str, ...] = POLICY_PROFILES,
    families: tuple[str, ...] = ("ipv4",),
) -> Fault:
    """Return a fault of a policy engine."""
    return Fault(name, "policy", summary, mimics, caught_by, profiles, families)
