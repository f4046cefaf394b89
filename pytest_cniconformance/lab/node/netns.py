# SPDX-License-Identifier: Apache-2.0
"""Sockets that belong to a node's network although the event loop runs elsewhere.

A socket keeps the network namespace of the thread that created it, so one helper thread hops between
namespaces and hands sockets over; everything after that is ordinary asyncio.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from pytest_cniconformance.lab.node import syscalls


class NetnsSockets:
    """Makes sockets in named network namespaces."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lab-netns")

    async def create(self, netns: str, family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Return a non-blocking socket of ``netns``. Raises OSError when there is no such namespace."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._create, netns, family, kind)

    async def connect(self, netns: str, address: str, port: int) -> socket.socket:
        """Return a TCP connection from ``netns``. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = await self.create(netns, family)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """End the helper thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _create(netns: str, family: int, kind: int) -> socket.socket:
        syscalls.enter_netns(netns)
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock
