# SPDX-License-Identifier: Apache-2.0
"""What the API server asks of the nodes: running commands in containers and reading their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pytest_cniconformance.lab.api.objects import Obj


class Reader(Protocol):
    """A stream of bytes from the client (``asyncio.StreamReader`` is one)."""

    async def read(self, n: int = -1, /) -> bytes:
        """Return up to ``n`` bytes as soon as there are any; ``b""`` at the end."""


class ContainerNotFound(Exception):
    """The container does not exist or does not run (any more); the text says which."""


class NodeAgents(Protocol):
    """The kubelets of all nodes. ``pod`` is the stored Pod, ``container`` the name of its container."""

    async def exec(
        self,
        pod: Obj,
        container: str,
        argv: Sequence[str],
        stdin: Reader | None,
        stdout: Callable[[bytes], Awaitable[None]],
        stderr: Callable[[bytes], Awaitable[None]],
    ) -> int:
        """Run a command in a running container and return its exit code (128 + signal when killed).

        ``stdin`` is None when the client attached none. When the client goes away the call is cancelled, and
        the command must be killed. Raises ``ContainerNotFound``.
        """
        ...

    def logs(
        self,
        pod: Obj,
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """Yield the container's output in chunks; raises ``ContainerNotFound`` at the first step.

        Starts with the last ``tail`` lines (all when None); with ``follow`` new ones come while it runs.
        ``previous`` means the run before the last restart; ``timestamps`` puts the time before each line.
        """
        ...
