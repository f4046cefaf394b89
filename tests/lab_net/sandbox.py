# SPDX-License-Identifier: Apache-2.0
"""A process in network, mount and PID namespaces of its own, which runs commands there for a test."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sandbox:
    """Talks to ``world_server.py`` in its own network, mount and PID namespaces."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Sandbox:
        inner = 'mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount -t sysfs sysfs /sys && exec "$@"'
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", inner, "sh", sys.executable, str(Path(__file__).with_name("world_server.py"))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"])
            if future.done():
                continue
            if "error" in answer:
                future.set_exception(RuntimeError(answer["error"]))
            else:
                future.set_result(answer["value"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RuntimeError("the sandbox ended"))

    async def ask(self, op: str, **args: Any) -> Any:
        assert self._process.stdin
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "op": op, "args": args}).encode() + b"\n")
        return await future

    async def run(
        self, argv: Sequence[str], stdin: bytes = b"", netns: str | None = None
    ) -> tuple[int, bytes, bytes]:
        """Satisfy the dataplane's Zygote protocol."""
        text = base64.b64encode(stdin).decode()
        code, out, err = await self.ask("run", argv=list(argv), stdin=text, netns=netns)
        return code, base64.b64decode(out), base64.b64decode(err)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader
        self._process._transport.close()  # type: ignore[attr-defined]
