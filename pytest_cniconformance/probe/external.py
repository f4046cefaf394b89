# SPDX-License-Identifier: Apache-2.0
"""HTTP from where pytest runs: the view of a client outside the cluster (NodePort, LoadBalancer, Ingress)."""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING

import requests

from pytest_cniconformance.model.verdict import Observation, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping


def http_probe(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | str | None = None,
    timeout: float = 3.0,
    attempts: int = 3,
    expect_responder: str | None = None,
) -> Observation:
    """Request ``url`` on fresh connections until one is answered, and return the verdict.

    ``timeout`` is in seconds, for each attempt. Proxies of the environment are not used. Silence is called
    ``dropped`` although no control probe backs it: this vantage has no agent (``extra`` says ``vouched: False``);
    where that matters, run an agent with ``ProcessTransport``.
    """
    seen = Observation(Verdict.PROBE_ERROR, cause="no attempt was made")
    for number in range(1, attempts + 1):
        with requests.Session() as session:
            session.trust_env = False
            began = time.perf_counter()
            try:
                response = session.request(
                    method,
                    url,
                    headers=dict(headers or {}),
                    data=body,
                    timeout=timeout,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                verdict, cause = _judge(error, timeout)
                seen = Observation(
                    verdict,
                    cause=cause,
                    attempts=number,
                    window_ms=timeout * 1000,
                    at=time.time(),
                    extra={"vouched": False} if verdict is Verdict.DROPPED else {},
                )
                if verdict in (Verdict.DNS_FAILED, Verdict.PROBE_ERROR):
                    return seen
                continue
            took = (time.perf_counter() - began) * 1000
            return _answered(response, took, number, expect_responder)
    return seen


def _answered(response: requests.Response, took: float, number: int, expected: str | None) -> Observation:
    responder = response.headers.get("cni-responder", "")
    who = responder or response.headers.get("server") or "an intermediary"
    verdict, cause = Verdict.OPEN, ""
    if response.status_code == 403:
        verdict, cause = Verdict.HTTP_DENIED, f"answered by {who}"
    elif expected is not None and responder != expected:
        verdict, cause = Verdict.PROBE_ERROR, f"answered by {who}, not by {expected}"
    elif response.status_code >= 500 and not responder:
        verdict, cause = Verdict.PROBE_ERROR, f"HTTP {response.status_code} from {who}"
    return Observation(
        verdict,
        cause=cause,
        latency_ms=took,
        attempts=number,
        responder=responder,
        peer_seen=response.headers.get("cni-peer", ""),
        http_status=response.status_code,
        at=time.time(),
    )


def _judge(error: BaseException, timeout: float) -> tuple[Verdict, str]:
    """Find the operating system's reason below the layers of ``requests`` and ``urllib3``."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, socket.gaierror):
            return Verdict.DNS_FAILED, str(current.strerror)
        if isinstance(current, ConnectionResetError | BrokenPipeError):
            return Verdict.REFUSED, "reset after accept"
        if isinstance(current, OSError) and not isinstance(current, requests.RequestException):
            if current.errno in (errno.ECONNREFUSED, errno.EACCES):
                return Verdict.REFUSED, str(current.strerror)
            if current.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                return Verdict.UNREACHABLE, str(current.strerror)
        below = [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
        queue += [item for item in below if isinstance(item, BaseException)]
    if isinstance(error, requests.Timeout):
        return Verdict.DROPPED, f"no answer in {timeout:g} s"
    if "RemoteDisconnected" in repr(error):
        return Verdict.REFUSED, "closed after accept, without an answer"
    return Verdict.PROBE_ERROR, f"{type(error).__name__}: {error}"
