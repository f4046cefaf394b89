# SPDX-License-Identifier: Apache-2.0
"""The agent: the program that runs in every probe pod (and, as a process, at every outside vantage).

``serve --listen TCP:80 --listen UDP:80 --http 8080 --identity ns/pod`` is a pod's main process: it answers on every
port and names itself. ``probe`` is started through an exec stream and speaks JSON lines on stdin and stdout: a
greeting, then one answer per request (``{"id": 1, "op": "probe", ...}`` to ``{"id": 1, ...}``).

It must run on any stock Python image, so: the standard library only, Python 3.8 or later, nothing of the package
around it, and relative imports, for in a pod it is the top-level package ``agent``, put there by a ConfigMap and
started by ``run_agent.py``. It starts in milliseconds, so: neither asyncio nor argparse nor threading nor pathlib,
and hashlib only where asked for.
"""
