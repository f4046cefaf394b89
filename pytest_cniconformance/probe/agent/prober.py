# SPDX-License-Identifier: Apache-2.0
"""Batches of cells, in which silence is believed only where the controls vouch for it."""

from __future__ import annotations

import collections
import socket

from .attempt import attempt
from .cell import Cell
from .controls import Controls, LagWatch
from .judgement import Try
from .loop import Loop, Task, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Prober:
    """Runs batches: a round of all cells, then rounds of those whose silence nothing vouched for."""

    def __init__(self, loop: Loop, identity: str) -> None:
        self.loop = loop
        self.controls = Controls(loop, identity)

    async def resolve_names(self, cells: list[Cell], limit: float) -> None:
        """Resolve the names of a batch by the system resolver, each once, all at a time."""
        names: dict[tuple[str, int], Task] = {}
        for cell in cells:
            if not cell.target.family:
                key = (cell.target.host, cell.wanted_family)
                if key not in names:
                    family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(key[1], socket.AF_UNSPEC)
                    question = (socket.getaddrinfo, key[0], None, family, socket.SOCK_STREAM)
                    names[key] = self.loop.spawn(self.loop.thread(now() + limit, *question))
        for cell in cells:
            if cell.target.family:
                continue
            cause = f"the resolver gave no answer in {limit * 1000:.0f} ms"
            try:
                found = await self.loop.join(names[cell.target.host, cell.wanted_family])
                if found:
                    cell.target.family, cell.target.address = int(found[0][0]), found[0][4][0]
                    continue
            except OSError as error:
                cause = str(error.strerror or error)
            cell.settle("dns-failed", f"{cell.target.host}: {cause}", None, limit)

    async def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Probe all cells at once. Silence is believed only where the controls vouch for it."""
        window = request["w"] / 1000.0
        cells = [Cell(row[0], row[1], row[2], row[3] if len(row) > 3 else {}) for row in request["cells"]]
        await self.resolve_names(cells, request.get("dns", 5000) / 1000.0)
        rounds = []
        for _ in range(request.get("rounds", 3)):
            todo = [cell for cell in cells if cell.result is None or cell.silent]
            if not todo:
                break
            doubt, lag = await self.round(todo, window)
            silent = sum(cell.silent for cell in todo)
            rounds.append(
                {"w": round(window * 1000), "lag": round(lag * 1000, 2), "silent": silent, "doubt": doubt}
            )
            for cell in todo:
                if doubt and cell.result and cell.result[0] not in ("open", "http-denied"):
                    self.doubt(cell, doubt, window)
            if not doubt:
                for cell in todo:
                    cell.silent = False
                break
            window *= 2
        return {"r": [cell.result for cell in cells], "rounds": rounds}

    @staticmethod
    def doubt(cell: Cell, doubt: str, window: float) -> None:
        """Mark the cell to be probed again; after the last round the mark stands as a probe error."""
        said = cell.result[0] if cell.result else ""
        if said == "dns-failed" or (said == "probe-error" and not cell.silent):
            return
        cell.silent = True
        cell.settle("probe-error", f"{cell.target.host} seemed {said}, but {doubt}", None, window)

    async def round(self, cells: list[Cell], window: float) -> tuple[str, float]:
        """Probe these cells once; return why they cannot be vouched for (or an empty string) and the loop's lag."""
        loop = self.loop
        families = self.controls.families({cell.target.family for cell in cells})
        udp = any(cell.target.protocol == "UDP" for cell in cells)
        lag = LagWatch(loop, window / 20)
        began = now()
        running = [loop.spawn(cell.run(loop, window)) for cell in cells]
        controls = [
            loop.spawn(self.controls.positive(families, udp, "start", window)),
            loop.spawn(self.controls.negative(families, window)),
        ]
        middle = loop.spawn(self._later(began + window / 2, families, udp, window))
        for task in running:
            await loop.join(task)
        doubts = [await loop.join(task) for task in controls]
        if any(cell.silent for cell in cells):
            doubts.append(await loop.join(middle))
            doubts.append(await self.controls.positive(families, udp, "end", window))
        loop.cancel(middle)
        lag.stop()
        if any(cell.silent for cell in cells) and lag.worst >= window / 4:
            lagged = f"its loop lagged {lag.worst * 1e3:.0f} ms in a window of {window * 1e3:.0f} ms"
            doubts.append(f"the prober was starved: {lagged}")
        return next((doubt for doubt in doubts if doubt), ""), lag.worst

    async def _later(self, moment: float, families: set[int], udp: bool, window: float) -> str:
        await self.loop.suspend(moment)
        return await self.controls.positive(families, udp, "middle", window)

    async def connect_many(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open ``n`` fresh connections, at most ``parallel`` at a time; count responders, verdicts and causes."""
        window = request["w"] / 1000.0
        cell = Cell(request["host"], request["port"], request.get("proto", "TCP"), request.get("o", {}))
        await self.resolve_names([cell], 5.0)
        if cell.result is not None:  # the name has no address
            return {"verdicts": {cell.result[0]: request["n"]}, "causes": {cell.result[1]: request["n"]}}
        tries = [Try() for _ in range(request["n"])]
        waiting = list(tries)

        async def work() -> None:
            while waiting:
                await attempt(self.loop, cell.target, waiting.pop(), now() + window)

        lag = LagWatch(self.loop, window / 20)
        workers = [self.loop.spawn(work()) for _ in range(min(request.get("parallel", 256), request["n"]))]
        for task in workers:
            await self.loop.join(task)
        lag.stop()
        return {
            "responders": dict(collections.Counter(t.responder for t in tries if t.responder)),
            "verdicts": dict(collections.Counter(t.verdict or "silent" for t in tries)),
            "causes": dict(collections.Counter(t.cause for t in tries if t.cause)),
            "us": [None if t.latency is None else round(t.latency * 1e6) for t in tries],
            "lag": round(lag.worst * 1000, 2),
        }
