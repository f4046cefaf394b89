# SPDX-License-Identifier: Apache-2.0
"""Startup, readiness and liveness probes, made from the network of the pod's own node."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.node.netns import NetnsSockets

_QUICK = 0.02  # seconds before the first repetition; a real kubelet waits a whole period
_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one attempt; ``message`` says what went wrong."""

    ok: bool
    message: str = ""


class Execute(Protocol):
    """Runs a command in the container."""

    async def __call__(self, argv: list[str]) -> tuple[int, bytes]:
        """Return (exit code, output)."""
        ...


class Target:
    """The container that is probed."""

    def __init__(self, sockets: NetnsSockets, netns: str, ip: str, container: Obj, execute: Execute) -> None:
        self._sockets = sockets
        self._netns = netns
        self._ip = ip
        self._ports = {
            port["name"]: port["containerPort"] for port in container.get("ports") or [] if "name" in port
        }
        self._execute = execute

    async def attempt(self, probe: Obj) -> Result:
        """Probe once, within the probe's timeout."""
        timeout = probe.get("timeoutSeconds", 1)
        try:
            async with asyncio.timeout(timeout):
                return await self._attempt(probe)
        except TimeoutError:
            return Result(False, f"context deadline exceeded after {timeout}s")
        except (OSError, ValueError) as error:
            return Result(False, f"dial tcp {self._ip}: {getattr(error, 'strerror', None) or error}")

    async def _attempt(self, probe: Obj) -> Result:
        if action := probe.get("exec"):
            code, output = await self._execute(list(action["command"]))
            return Result(code == 0, output[-1024:].decode(errors="replace"))
        if action := probe.get("httpGet"):
            return await self.http(action)
        if action := probe.get("tcpSocket"):
            sock = await self._sockets.connect(
                self._netns, action.get("host") or self._ip, self._port(action)
            )
            sock.close()
            return Result(True)
        return Result(False, "the lab has httpGet, tcpSocket and exec probes only")

    async def http(self, action: Obj) -> Result:
        """Make the GET request of a probe or a lifecycle hook."""
        host, port = action.get("host") or self._ip, self._port(action)
        sock = await self._sockets.connect(self._netns, host, port)
        context = None
        if action.get("scheme", "HTTP").upper() == "HTTPS":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # a kubelet does not verify either
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="" if context else None
        )
        try:
            bracketed = f"[{host}]" if ":" in host else host
            headers = {"Host": f"{bracketed}:{port}", "User-Agent": "kube-probe/1.33", "Accept": "*/*"}
            headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            path = action.get("path") or "/"
            writer.write(f"GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
            status = (await reader.readline()).split()
        finally:
            writer.close()
        if len(status) < 2 or not status[1].isdigit():
            return Result(False, "malformed HTTP response")
        code = int(status[1])
        return Result(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")

    def _port(self, action: Obj) -> int:
        port = action["port"]
        if isinstance(port, int) or str(port).isdigit():
            return int(port)
        if port not in self._ports:
            raise ValueError(f"no container port is named {port!r}")
        return int(self._ports[port])


async def follow(target: Target, probe: Obj, report: Callable[[bool, str], None], *, quick: bool) -> None:
    """Probe for ever and report each change of the outcome as (ok, message); starts as not ok, unreported.

    With ``quick`` (readiness, startup) failures before the first success are repeated after 20 ms, 30 ms, ...
    up to the period, and count towards the failure threshold by the time passed, not by their number.
    """
    period = float(probe.get("periodSeconds", 10))
    needed, allowed = probe.get("successThreshold", 1), probe.get("failureThreshold", 3)
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    delay, good, bad, ok, ever = _QUICK, 0, 0, False, False
    while True:
        result = await target.attempt(probe)
        if result.ok:
            good, bad = good + 1, 0
            if not ok and good >= needed:
                ok = ever = True
                report(True, "")
        else:
            good, bad = 0, bad + 1
            late = loop.time() - began >= period * allowed if quick and not ever else bad >= allowed
            if late:
                ok = False
                report(False, result.message)
                began = loop.time()
        if quick and not ever:
            await asyncio.sleep(min(delay, period))
            delay *= _GROWTH
        else:
            await asyncio.sleep(period)
