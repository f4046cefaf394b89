# SPDX-License-Identifier: Apache-2.0
"""How JSON lines get to an agent and back: through an exec stream, or to a local process."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.kube import KubeClient

LAUNCHER = Path(__file__).with_name("run_agent.py")
"""What starts the agent that lies beside it; pods get the same bytes through a ConfigMap."""

AGENT_FOLDER_IN_POD = "/cniconformance"
"""Where the ConfigMap puts launcher and agent."""


def agent_command(
    mode: Literal["serve", "probe", "first"],
    identity: str,
    *,
    python: str = "python3",
    folder: str | Path = AGENT_FOLDER_IN_POD,
) -> list[str]:
    """Return the command that starts the agent; ``-I`` and ``-S`` keep whatever an image prepared out of it."""
    return [python, "-I", "-S", f"{folder}/{LAUNCHER.name}", mode, "--identity", identity]


class TransportClosed(ConnectionError):
    """The stream to the agent ended; the message says what is known of the reason."""


class Transport(Protocol):
    """A two-way stream of lines."""

    def send(self, line: bytes) -> None:
        """Send one line (newline included). Raises :class:`TransportClosed`."""

    def recv(self, timeout: float) -> bytes | None:
        """Return the next line; None after ``timeout`` seconds. Raises :class:`TransportClosed` at the end."""

    def close(self) -> None:
        """End the stream and the agent. Never raises; may be called twice and from any thread."""


class ExecStream(Protocol):
    """What this layer needs of an exec stream (``KubeClient.open_exec``)."""

    def send(self, data: bytes, /) -> None:
        """Write to the command's stdin."""

    def recv(self, timeout: float, /) -> bytes | None:
        """Return bytes of stdout, None after the timeout, ``b""`` at the end."""

    @property
    def stderr(self) -> bytes | str:
        """What the command wrote to stderr so far."""

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None while it runs."""

    def close(self) -> None:
        """Close the stream."""


class ExecOpener(Protocol):
    """What this layer needs of ``KubeClient``."""

    def open_exec(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str | None = None
    ) -> ExecStream:
        """Start a command in a container with stdin, stdout and stderr attached."""


if TYPE_CHECKING:
    _client_fits: type[ExecOpener] = KubeClient


class _Lines:
    """Cuts a byte stream into lines without copying a long line again for every chunk."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._ready: list[bytes] = []

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._ready.append(b"".join([*self._parts, line]))
            self._parts.clear()
        if rest:
            self._parts.append(rest)

    def take(self) -> bytes | None:
        return self._ready.pop(0) if self._ready else None


class ExecTransport:
    """An agent started in a pod through the API server's exec."""

    def __init__(
        self,
        kube: ExecOpener,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        python: str = "python3",
    ) -> None:
        argv = agent_command("probe", f"{namespace}/{pod}", python=python)
        self._where = f"pod {namespace}/{pod}"
        self._stream = kube.open_exec(namespace, pod, argv, container=container)
        self._lines = _Lines()

    def send(self, line: bytes) -> None:
        """Send one line."""
        try:
            self._stream.send(line)
        except Exception as error:  # whatever the web socket library raises: the stream is of no more use
            raise self._closed(error) from error

    def recv(self, timeout: float) -> bytes | None:
        """Return the next line, or None after ``timeout`` seconds."""
        end = monotonic() + timeout
        while (line := self._lines.take()) is None:
            remaining = end - monotonic()
            if remaining <= 0:
                return None
            try:
                data = self._stream.recv(remaining)
            except Exception as error:  # see send
                raise self._closed(error) from error
            if data:
                self._lines.feed(data)
            elif data is not None:
                raise self._closed(None)
        return line

    def close(self) -> None:
        """Close the stream; the agent ends when its stdin does."""
        with contextlib.suppress(Exception):
            self._stream.close()

    def _closed(self, error: Exception | None) -> TransportClosed:
        said = self._stream.stderr
        text = (said.decode(errors="replace") if isinstance(said, bytes) else said).strip()
        code = self._stream.exit_code
        parts = [f"the exec stream to the agent in {self._where} ended"]
        if code is not None:
            parts.append(f"exit code {code}")
        if error is not None:
            parts.append(f"{type(error).__name__}: {error}")
        if text:
            parts.append(text[-500:])
        return TransportClosed("; ".join(parts))


class ProcessTransport:
    """An agent as a local process: the runner itself, or an outside vantage behind an argv prefix.

    ``prefix`` is put before the command, e.g. ``["ip", "netns", "exec", "outside"]``.
    """

    def __init__(
        self,
        prefix: Sequence[str] = (),
        *,
        identity: str = "runner",
        python: str = sys.executable,
        argv: Sequence[str] | None = None,
    ) -> None:
        own = agent_command("probe", identity, python=python, folder=LAUNCHER.parent)
        command = argv or [*prefix, *own]
        self._identity = identity
        self._lines = _Lines()
        self._reading = threading.Lock()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the transport
        try:
            # A session of its own: Ctrl-C ends the agent through its stdin, after the teardown has used it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise TransportClosed(
                f"cannot start the agent of {identity}: {' '.join(command)}: {error}"
            ) from error
        self._poll = select.poll()
        assert self._process.stdout is not None
        self._poll.register(self._process.stdout, select.POLLIN)

    @property
    def pid(self) -> int:
        """The process id, of the prefix command if that does not exec."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Send one line."""
        stdin = self._process.stdin
        try:
            assert stdin is not None
            view = memoryview(line)
            while view:
                view = view[stdin.write(view) or 0 :]
        except (OSError, ValueError) as error:
            raise self._closed() from error

    def recv(self, timeout: float) -> bytes | None:
        """Return the next line, or None after ``timeout`` seconds."""
        end = monotonic() + timeout
        with self._reading:
            while (line := self._lines.take()) is None:
                stdout = self._process.stdout
                if stdout is None or stdout.closed:
                    raise self._closed()
                remaining = end - monotonic()
                if remaining <= 0:
                    return None
                if self._poll.poll(remaining * 1000):
                    data = stdout.read(1 << 18)
                    if not data:
                        raise self._closed()
                    self._lines.feed(data)
        return line

    def close(self) -> None:
        """End the agent: by the end of its stdin, by force if that takes more than two seconds."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with self._reading:  # a reader sees the end of the stream before its descriptor goes away
            if process.stdout is not None:
                process.stdout.close()
            self._stderr.close()

    def _closed(self) -> TransportClosed:
        code, text = self._process.poll(), ""
        with contextlib.suppress(ValueError):  # closed meanwhile: nothing to add
            self._stderr.seek(0)
            text = self._stderr.read()[-500:].decode(errors="replace").strip()
        how = "is gone" if code is None else f"ended with exit code {code}"
        return TransportClosed(f"the agent of {self._identity} {how}" + (f": {text}" if text else ""))
