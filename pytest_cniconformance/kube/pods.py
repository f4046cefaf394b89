# SPDX-License-Identifier: Apache-2.0
"""What one does with a running pod: run a command in it, read its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import Call, KubeError
from .exec import V5, ExecResult, ExecStream

if TYPE_CHECKING:
    from .transport import Transport

# Before v5 (Kubernetes 1.30) stdin has no end over websockets: the command is told its length instead.
_COUNTED = ("sh", "-c", 'n=$1; shift; head -c "$n" | "$@"', "sh")


class Pods:
    """Commands and logs of pods through one API server. Thread-safe."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._protocol: str | None = None

    def open_exec(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str | None = None
    ) -> ExecStream:
        """Start ``argv`` and return its stream."""
        from .handshake import open_websocket

        call = Call("exec", f"{argv[0]} in Pod {namespace}/{pod}", "pods/exec", namespace)
        query = [("command", part) for part in argv]
        query += [("stdin", "true"), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]
        if container:
            query.append(("container", container))
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        scheme = "wss" if self._transport.connection.tls else "ws"
        url = f"{scheme}:{self._transport.url(path, query).partition(':')[2]}"
        client = open_websocket(self._transport, call, url, self._transport.timeouts.exec_open)
        stream = ExecStream(client, call)
        self._protocol = stream.protocol
        return stream

    def run(
        self,
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str | None,
        stdin: bytes | None,
        timeout: float,
    ) -> ExecResult:
        """Run ``argv`` to its end, for at most ``timeout`` seconds."""
        command = list(argv)
        if stdin is not None and self._negotiated(namespace, pod, container) != V5:
            command = [*_COUNTED, str(len(stdin)), *command]
        with self.open_exec(namespace, pod, command, container=container) as stream:
            if stdin is not None:
                _feed(stream, stdin)
            return stream.wait(timeout)

    def logs(
        self, namespace: str, pod: str, *, container: str | None, tail: int | None, previous: bool
    ) -> str:
        """Return a container's log."""
        call = Call("get", f"the log of Pod {namespace}/{pod}", "pods/log", namespace)
        query = {"container": container, "tailLines": tail, "previous": "true" if previous else None}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        answer = self._transport.request(call, "GET", path, query=query, accept="*/*")
        return answer.body.decode("utf-8", "replace")

    def _negotiated(self, namespace: str, pod: str, container: str | None) -> str:
        """Return the protocol that the server picks; a command of no effect finds it out, once per client."""
        if self._protocol is None:
            self.open_exec(namespace, pod, ["true"], container=container).close()
        return self._protocol or ""


def _feed(stream: ExecStream, stdin: bytes) -> None:
    try:
        stream.send(stdin)
        if stream.protocol == V5:
            stream.close_stdin()
    except KubeError:
        if not stream.ended:
            raise
        # The command ended without reading all of its stdin, as commands may: its exit code decides.
