# SPDX-License-Identifier: Apache-2.0
"""Coroutines over one selector, and whole messages over a stream of bytes.

All sockets of an agent hang on one loop whose own lag can be measured: a prober that did not get the processor must
never report silence as a drop. asyncio would do, but takes longer to import than the agent to start.
"""

from __future__ import annotations

import _thread
import collections
import heapq
import selectors
import socket
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

now = time.monotonic


class Task:
    """A coroutine on the loop. ``token`` changes at every wake-up, which makes stale timers and events harmless."""

    __slots__ = ("coro", "done", "error", "result", "token", "waiters")

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.coro = coro
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.token = 0
        self.waiters: list[tuple[Task, int]] = []


class Loop:
    """Coroutines over one selector. Input and output are served before timers: an answer beats its deadline."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Task, int]] = []
        self.ready: collections.deque[tuple[Task, Any]] = collections.deque()
        self.current: Task
        self._count = 0
        self._finished: collections.deque[tuple[Task, int, Any]] = collections.deque()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.selector.register(self._woken, READ, None)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> Task:
        """Start the coroutine with the next turn of the loop."""
        task = Task(coro)
        self.ready.append((task, None))
        return task

    def cancel(self, task: Task) -> None:
        """Stop the task where it waits; its ``finally`` blocks run now."""
        if not task.done:
            task.done = True
            task.token += 1
            task.coro.close()

    def wake(self, task: Task, token: int, value: Any) -> None:
        """Let the task go on with this value, unless it has gone on since the token was taken."""
        if task.token == token and not task.done:
            task.token += 1
            self.ready.append((task, value))

    @types.coroutine
    def suspend(self, deadline: float | None) -> Generator[None, Any, Any]:
        """Wait for a wake-up; None at the deadline."""
        if deadline is not None:
            self._count += 1
            heapq.heappush(self.timers, (deadline, self._count, self.current, self.current.token))
        return (yield)

    async def io(self, sock: socket.socket | int, mask: int, deadline: float | None) -> Any:
        """Wait until the socket (or descriptor) is ready; a false value at the deadline."""
        self.selector.register(sock, mask, (self.current, self.current.token))
        try:
            return await self.suspend(deadline)
        finally:
            self.selector.unregister(sock)

    async def wait_any(self, tasks: Iterable[Task], deadline: float | None) -> None:
        """Wait until one of the unfinished tasks has finished, or the deadline."""
        me, token = self.current, self.current.token
        for task in tasks:
            if not task.done:
                task.waiters.append((me, token))
        await self.suspend(deadline)

    async def join(self, task: Task) -> Any:
        """Wait for the task and return its result, or raise its error."""
        while not task.done:
            await self.wait_any([task], None)
        if task.error is not None:
            raise task.error
        return task.result

    async def thread(self, deadline: float | None, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking function in a thread; None at the deadline (the thread is left to end by itself)."""
        me, token = self.current, self.current.token

        def run() -> None:
            try:
                value: Any = ("ok", function(*args))
            except Exception as error:
                value = ("error", error)
            self._finished.append((me, token, value))
            self._waker.send(b"x")

        _thread.start_new_thread(run, ())
        value = await self.suspend(deadline)
        if value is None:
            return None
        if value[0] == "error":
            raise value[1]
        return value[1]

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Turn the loop until the coroutine has ended; return its result."""
        main = self.spawn(coro)
        ready, timers = self.ready, self.timers
        while not main.done:
            if ready:
                timeout: float | None = 0
            else:
                timeout = max(0.0, timers[0][0] - now()) if timers else None
            for key, mask in self.selector.select(timeout):
                if key.data is None:
                    self._drain()
                else:
                    self.wake(key.data[0], key.data[1], mask)
            moment = now()
            while timers and timers[0][0] <= moment:
                _, _, task, token = heapq.heappop(timers)
                self.wake(task, token, None)
            for _ in range(len(ready)):
                self._step(*ready.popleft())
        if main.error is not None:
            raise main.error
        return main.result

    def _drain(self) -> None:
        self._woken.recv(4096)
        while self._finished:
            self.wake(*self._finished.popleft())

    def _step(self, task: Task, value: Any) -> None:
        if task.done:
            return
        self.current = task
        try:
            task.coro.send(value)
            return
        except StopIteration as stop:
            task.result = stop.value
        except Exception as error:
            task.error = error
        task.done = True
        for waiter, token in task.waiters:
            self.wake(waiter, token, task)
