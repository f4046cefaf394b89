# SPDX-License-Identifier: Apache-2.0
"""Starts the agent that lies beside this file, in a pod as well as here: ``python3 -I -S run_agent.py probe``.

With ``-I`` Python looks neither here nor anywhere else that the pod's image or environment may have prepared, and
nothing of the package around the agent is imported.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import

    from agent.__main__ import main  # type: ignore[import-not-found]

    sys.exit(main(sys.argv[1:]))
