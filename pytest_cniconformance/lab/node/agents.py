# SPDX-License-Identifier: Apache-2.0
"""What the API server asks of the nodes: exec and logs."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import key_of
from pytest_cniconformance.lab.api.seams import ContainerNotFound
from pytest_cniconformance.lab.node.runner import StartError
from pytest_cniconformance.lab.node.stdio import nonblocking_pipe, pump, write_fd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from pytest_cniconformance.lab.api.objects import Obj
    from pytest_cniconformance.lab.api.seams import Reader
    from pytest_cniconformance.lab.node.container import Container
    from pytest_cniconformance.lab.node.kubelet import Kubelet
    from pytest_cniconformance.lab.node.runner import ZygoteRunner

_DRAIN = 0.5  # seconds for output of background children after the command itself has ended


class Agents:
    """Finds the kubelet of a pod and the container in it (``lab.api.seams.NodeAgents``)."""

    def __init__(self, runner: ZygoteRunner, kubelets: Mapping[str, Kubelet]) -> None:
        self._runner = runner
        self._kubelets = kubelets

    async def exec(
        self,
        pod: Obj,
        container: str,
        argv: Sequence[str],
        stdin: Reader | None,
        stdout: Callable[[bytes], Awaitable[None]],
        stderr: Callable[[bytes], Awaitable[None]],
    ) -> int:
        """Run a command in a container; return its exit code. Cancelling kills the command."""
        found = self._find(pod, container)
        if not found.running:
            raise ContainerNotFound(f"container {container} of pod {key_of(pod)} is not running")
        process = found.joined(list(argv))
        in_read, in_write = nonblocking_pipe(ours="write")
        out_read, out_write = nonblocking_pipe(ours="read")
        err_read, err_write = nonblocking_pipe(ours="read")
        try:
            child = await self._runner.start(process, (in_read, out_write, err_write))
        except StartError as error:
            for fd in (in_write, out_read, err_read):
                os.close(fd)
            # The codes of a shell: 126 cannot run, 127 not found; runc says it on stderr too.
            await stderr(f"OCI runtime exec failed: unable to start container process: {error}\n".encode())
            return 127 if "not found" in str(error) or "no such file" in str(error) else 126
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        feeder = asyncio.create_task(_feed(stdin, in_write))
        pumps = [asyncio.create_task(pump(out_read, stdout)), asyncio.create_task(pump(err_read, stderr))]
        try:
            code = await child.wait()
            await asyncio.wait(pumps, timeout=_DRAIN)
        finally:
            child.kill()
            for task in (feeder, *pumps):
                task.cancel()
            await asyncio.gather(feeder, *pumps, return_exceptions=True)
        return code

    async def logs(
        self,
        pod: Obj,
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """Yield a container's output; ``previous`` means its run before the last restart."""
        found = self._find(pod, container)
        log = found.previous_log if previous else found.log
        if log is None:
            raise ContainerNotFound(
                f'previous terminated container "{container}" in pod "{key_of(pod)}" not found'
            )
        async for chunk in log.read(follow=follow, tail=tail, timestamps=timestamps):
            yield chunk

    def _find(self, pod: Obj, container: str) -> Container:
        kubelet = self._kubelets.get(pod["spec"].get("nodeName", ""))
        worker = kubelet.worker(pod) if kubelet else None
        if worker is None:
            raise ContainerNotFound(f"pod {key_of(pod)} does not run on any node")
        if container not in worker.containers:
            raise ContainerNotFound(f"container {container} is not valid for pod {key_of(pod)}")
        return worker.containers[container]


async def _feed(stdin: Reader | None, fd: int) -> None:
    try:
        while stdin is not None and (data := await stdin.read(1 << 16)):
            await write_fd(fd, data)
    except BrokenPipeError:
        pass  # the command reads no further
    finally:
        os.close(fd)
