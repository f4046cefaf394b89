# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: the generated case space, one check per case.

The cases are values in ``pytest_cniconformance.policy.cases``; what each must show is the oracle's to say.
"""

from __future__ import annotations

import pytest

from pytest_cniconformance.fixtures.cases import CasePlayer
from pytest_cniconformance.policy.cases import CASES, Case

pytestmark = pytest.mark.netpol


@pytest.mark.generated
@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.id, marks=pytest.mark.requirement(c.requirement)) for c in CASES]
)
def test_case(case: Case, cni_cases: CasePlayer) -> None:
    """A point of the case space."""
    if lacking := cni_cases.lacking(case):
        pytest.skip(lacking)
    cni_cases.play(case)
