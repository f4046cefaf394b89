# SPDX-License-Identifier: Apache-2.0
"""Exec as kubectl before 1.31 does it, spoken here by hand."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import zlib
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.spdy import DICTIONARY
from tests.lab_api.eventually import eventually
from tests.lab_api.fakes import ADMIN_TOKEN
from tests.lab_api.makers import pod

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api
    from tests.lab_api.fakes import FakeCluster

STREAMS = {"error": 1, "stdin": 3, "stdout": 5, "stderr": 7}
FIN = 1 << 24


def test_the_dictionary_is_the_one_of_the_draft() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


class Client:
    """A SPDY client: opens the four streams of a command."""

    def __init__(self, cluster: FakeCluster, path: str) -> None:
        address = ("127.0.0.1", int(cluster.url.rpartition(":")[2]))
        context = ssl.create_default_context(cafile=str(cluster.ca))
        self.socket = context.wrap_socket(socket.create_connection(address, 10), server_hostname="127.0.0.1")
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
            "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
            "X-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        self.head = b"".join(iter(self.file.readline, b"\r\n")).decode()
        self.deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self) -> None:
        for kind, stream in STREAMS.items():
            texts = [b"streamtype", kind.encode()]
            block = struct.pack(">I", 1) + b"".join(struct.pack(">I", len(one)) + one for one in texts)
            packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
            payload = struct.pack(">IIBB", stream, 0, 0, 0) + packed
            self.socket.sendall(struct.pack(">HHI", 0x8003, 1, len(payload)) + payload)

    def send(self, kind: str, data: bytes, *, last: bool = False) -> None:
        self.socket.sendall(struct.pack(">II", STREAMS[kind], (FIN if last else 0) | len(data)) + data)

    def read(self) -> dict[str, bytes]:
        """Return what came on each stream until all are ended."""
        found = dict.fromkeys(STREAMS, b"")
        ended: set[int] = set()
        while ended != set(STREAMS.values()):
            first, second = struct.unpack(">II", self.file.read(8))
            payload = self.file.read(second & 0xFFFFFF)
            if first & 0x80000000:
                continue
            kind = next(name for name, stream in STREAMS.items() if stream == first)
            found[kind] += payload
            if second & FIN:
                ended.add(first)
        return found

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_command_runs_over_spdy(cluster: FakeCluster, api: Api, namespace: str) -> None:
    core = f"/api/v1/namespaces/{namespace}"
    eventually(lambda: api("GET", core + "/serviceaccounts/default").ok)
    api.ok("POST", core + "/pods", pod("p", nodeName="lab-worker1"))
    command = "command=sh&command=-c&command=cat%3B+echo+err+%3E%262%3B+exit+7"
    client = Client(cluster, f"{core}/pods/p/exec?{command}&stdin=true&stdout=true&stderr=true")
    assert client.head.startswith("HTTP/1.1 101 ")
    assert "X-Stream-Protocol-Version: v4.channel.k8s.io" in client.head
    client.open()
    big = b"x" * 200_000
    client.send("stdin", big)
    client.send("stdin", b"", last=True)
    answer = client.read()
    client.close()
    assert answer["stdout"] == big
    assert answer["stderr"] == b"err\n"
    status = json.loads(answer["error"])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
