# SPDX-License-Identifier: Apache-2.0
"""The faults by name, and the set of those in force.

Code that can misbehave asks ``"except-ignored" in faults``. The policy engine's misreadings, beliefs and
omissions are tables by the same names, next to its compiler.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Self

from pytest_cniconformance.lab.faults.dns import DNS_FAULTS
from pytest_cniconformance.lab.faults.fault import Fault
from pytest_cniconformance.lab.faults.l7 import L7_FAULTS
from pytest_cniconformance.lab.faults.loadbalancer import LOADBALANCER_FAULTS
from pytest_cniconformance.lab.faults.network import NETWORK_FAULTS
from pytest_cniconformance.lab.faults.policy_enforcement import ENFORCEMENT_FAULTS
from pytest_cniconformance.lab.faults.policy_knowledge import KNOWLEDGE_FAULTS
from pytest_cniconformance.lab.faults.policy_ports import PORT_FAULTS
from pytest_cniconformance.lab.faults.policy_reading import READING_FAULTS
from pytest_cniconformance.lab.faults.services import SERVICE_FAULTS
from pytest_cniconformance.lab.faults.timing import TIMING_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

_BY_THEME = (
    NETWORK_FAULTS,
    DNS_FAULTS,
    SERVICE_FAULTS,
    LOADBALANCER_FAULTS,
    READING_FAULTS,
    PORT_FAULTS,
    KNOWLEDGE_FAULTS,
    TIMING_FAULTS,
    ENFORCEMENT_FAULTS,
    L7_FAULTS,
)
FAULTS: dict[str, Fault] = {fault.name: fault for theme in _BY_THEME for fault in theme}


class Active(frozenset[str]):
    """The names of the faults in force.

    Raises ValueError for a name that is not in the registry, and says which names come close.
    """

    def __new__(cls, names: Iterable[str] = ()) -> Self:
        """Check the names against the registry."""
        chosen = tuple(names)
        for name in chosen:
            if name not in FAULTS:
                close = difflib.get_close_matches(name, FAULTS, n=3, cutoff=0.5)
                hint = f"did you mean {', '.join(close)}?" if close else "see `cniconformance lab faults`."
                raise ValueError(f"unknown fault {name!r}; {hint}")
        return super().__new__(cls, chosen)

    def without_effect(self, profile: str) -> tuple[str, ...]:
        """Those that a dataplane profile cannot show, because it lacks the part that would be broken."""
        return tuple(sorted(name for name in self if profile not in FAULTS[name].profiles))
