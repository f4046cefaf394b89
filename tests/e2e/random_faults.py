# SPDX-License-Identifier: Apache-2.0
"""Prints how many random cases each NetworkPolicy fault of the lab takes to be found, and what is left of it.

    python -m tests.e2e.random_faults [FAULT ...]

One to four minutes for each fault, by four workers (one for a few), whose cases are counted together; run it after a
change of what is drawn or of how it is shrunk.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_cniconformance.lab.faults import FAULTS
from tests.e2e.running import Lab

ALONE = ("reload-fails-open", "late-pods-unknown", "subject-not-namespaced")
"""Faults by which the policies of other workers change what a case shows."""


PASSING = ("slow-convergence", "startup-lockout")
"""Faults that are over after some seconds: deadlines must be shorter."""


def main(names: list[str]) -> None:
    chosen = names or [n for n, fault in FAULTS.items() if fault.area == "policy"]
    print(f"{'fault':<34} {'cases':>6} {'steps':>6} {'seconds':>8}  smallest", flush=True)
    for name in chosen:
        fault = FAULTS[name]
        profile = "calico" if "calico" in fault.profiles else fault.profiles[0]
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            lab = Lab(Path(folder))
            options = ["--cni-random=2000", "--cni-seed=1", "--cni-random-time=300"]
            options += [] if name in ALONE else ["-n4"]
            if "ipv6" in fault.families:
                options.append(f"--cni-lab-families={','.join(fault.families)}")
            # Four workers keep the dataplane busy: it may take seconds where nothing is wrong.
            scale = "0.1" if name in PASSING else "0.3"
            try:
                lab.run(profile, "test_netpol_random.py", *options, faults=[name], expect=1, scale=scale)
            except (AssertionError, subprocess.TimeoutExpired):
                pass  # the line says so
        seconds = time.monotonic() - started
        cases = re.search(r"random policies: (\d+) cases compared", lab.output)
        found = re.search(
            r"(\d+ polic\S+ [^(\n]*?suffices?\b[^(\n]*) \([^;]*; shrunk in (\d+) steps", lab.output
        )
        smallest, steps = (found[1], found[2]) if found else ("not found", "-")
        print(
            f"{name:<34} {cases[1] if cases else '?':>6} {steps:>6} {seconds:>8.0f}  {smallest}", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
