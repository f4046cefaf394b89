# SPDX-License-Identifier: Apache-2.0
"""Exec streams: both protocols, large data both ways, cut streams, heartbeats, and no harm to other requests."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_cniconformance.kube import Forbidden, KubeClient, KubeError, NotFound, StreamCut, WaitTimeout
from pytest_cniconformance.kube import exec as exec_module
from pytest_cniconformance.kube.errors import Call
from pytest_cniconformance.kube.exec import FRAME, exit_status
from pytest_cniconformance.model.timeouts import Timeouts

from .conftest import TOKEN, kubeconfig
from .fakeapi import FakeApi
from .fakeexec import Exec

BIG = os.urandom(1 << 20) * 3


def drain(stream: exec_module.ExecStream) -> bytes:
    data = b""
    while part := stream.recv(10):
        data += part
    return data


@pytest.fixture
def tls_kube(write_config: Callable[..., str], tmp_path: Any) -> Iterator[tuple[FakeApi, KubeClient]]:
    trustme = pytest.importorskip("trustme")
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    api = FakeApi(tls=context)
    config = write_config(kubeconfig(api.url, **{"certificate-authority": "ca.pem"}))
    try:
        with KubeClient.connect(config, timeouts=Timeouts(request=10, retry_for=5, exec_open=5)) as client:
            yield api, client
    finally:
        api.close()


def test_stdout_stderr_and_exit_code_come_apart(api: FakeApi, kube: KubeClient) -> None:
    def command(session: Exec) -> None:
        assert session.argv == ["tool", "--flag", "a b&c"]
        session.out(b"")  # servers open each channel with an empty message
        session.out(b"out")
        session.out(b"err", 2)
        session.exit(7)

    api.commands["tool"] = command
    result = kube.exec("x", "a", ["tool", "--flag", "a b&c"], timeout=10)
    assert (result.stdout, result.stderr, result.exit_code, result.ok) == (b"out", b"err", 7, False)
    request = api.sent("GET", ".*/exec")[0]
    assert request.path == "/api/v1/namespaces/x/pods/a/exec"
    assert [request.one(name) for name in ("stdin", "stdout", "stderr", "tty")] == [
        "true",
        "true",
        "true",
        "false",
    ]
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert "origin" not in request.headers


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
def test_large_stdin_arrives_whole_and_ends(api: FakeApi, kube: KubeClient, protocol: str) -> None:
    """v5 can end stdin; before that the command is told how much to read."""
    api.protocols = (protocol,)
    result = kube.exec("x", "a", ["cat"], stdin=BIG, timeout=30)
    assert result.exit_code == 0
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(BIG).digest()


def test_large_data_passes_tls_both_ways_at_once(tls_kube: tuple[FakeApi, KubeClient]) -> None:
    api, kube = tls_kube
    for _ in range(3):
        assert kube.exec("x", "a", ["cat"], stdin=BIG, timeout=30).stdout == BIG
    assert api.sent("GET", ".*/exec")


def test_stdin_goes_in_small_frames(api: FakeApi, kube: KubeClient) -> None:
    sizes: list[int] = []

    def command(session: Exec) -> None:
        session.exactly(len(BIG))
        sizes.extend(size for opcode, size in session.frames if opcode == 2)
        session.exit(0)

    api.commands["sink"] = command
    with kube.open_exec("x", "a", ["sink"]) as stream:
        stream.send(BIG)
        assert stream.recv(20) == b""
    assert max(sizes) <= FRAME + 1


def test_an_old_server_cannot_end_stdin_and_says_so(api: FakeApi, kube: KubeClient) -> None:
    api.protocols = ("v4.channel.k8s.io",)
    with kube.open_exec("x", "a", ["cat"]) as stream:
        stream.send(b"hello")
        assert stream.recv(10) == b"hello"
        with pytest.raises(KubeError, match=r"v4.channel.k8s.io, which cannot end stdin"):
            stream.close_stdin()


def test_a_conversation_goes_back_and_forth(api: FakeApi, kube: KubeClient) -> None:
    def upper(session: Exec) -> None:
        for data in session.input():
            session.out(data.upper())
        session.exit(0)

    api.commands["upper"] = upper
    with kube.open_exec("x", "a", ["upper"]) as stream:
        assert stream.recv(0.01) is None, "nothing yet is not the end"
        for word in (b"one\n", b"two\n"):
            stream.send(word)
            assert stream.recv(10) == word.upper()
        stream.close_stdin()
        assert stream.recv(10) == b""
        assert stream.exit_code == 0
        assert stream.recv(10) == b"", "the end stays the end"
        with pytest.raises(StreamCut, match=r"has ended"):
            stream.send(b"more")


def test_output_after_the_exit_status_is_not_lost(api: FakeApi, kube: KubeClient) -> None:
    """The API server copies channels side by side: the status may overtake the output."""

    def command(session: Exec) -> None:
        session.out(b'{"status": "Success"}', 3)
        for _ in range(50):
            session.out(b"late")
        session.frame(8, struct.pack("!H", 1000))

    api.commands["late"] = command
    assert kube.exec("x", "a", ["late"], timeout=10).stdout == b"late" * 50


def test_fragmented_messages_are_put_together(api: FakeApi, kube: KubeClient) -> None:
    def command(session: Exec) -> None:
        session.frame(2, b"\x01first ", final=False)
        session.frame(9, b"ping in between")
        session.frame(0, b"second ", final=False)
        session.frame(0, b"third", final=True)
        session.exit(0)

    api.commands["fragments"] = command
    assert kube.exec("x", "a", ["fragments"], timeout=10).stdout == b"first second third"


def test_a_cut_stream_is_an_error_not_an_exit(api: FakeApi, kube: KubeClient) -> None:
    def command(session: Exec) -> None:
        session.out(b"half")
        session.handler.cut()

    api.commands["cut"] = command
    with kube.open_exec("x", "a", ["cut"]) as stream:
        assert stream.recv(10) == b"half"
        with pytest.raises(StreamCut, match=r"exec cut in Pod x/a: .* before the command's exit status came"):
            stream.recv(10)
        assert stream.exit_code is None
    with pytest.raises(StreamCut):
        kube.exec("x", "a", ["cut"], timeout=10)


def test_a_command_that_cannot_start_is_an_error(api: FakeApi, kube: KubeClient) -> None:
    with pytest.raises(
        StreamCut, match=r'exec nonesuch in Pod x/a: exec: "nonesuch": executable file not found'
    ):
        kube.exec("x", "a", ["nonesuch"], timeout=10)


def test_a_command_that_hangs_is_reported_with_its_output(api: FakeApi, kube: KubeClient) -> None:
    def command(session: Exec) -> None:
        session.out(b"so far")
        session.out(b"a warning", 2)
        for _ in session.input():
            pass

    api.commands["hang"] = command
    with pytest.raises(WaitTimeout) as caught:
        kube.exec("x", "a", ["hang"], timeout=0.5)
    assert "no exit status within 0.5 s (stdout so far: so far; stderr so far: a warning)" in str(
        caught.value
    )


def test_a_command_may_end_without_reading_its_stdin(api: FakeApi, kube: KubeClient) -> None:
    assert kube.exec("x", "a", ["exit", "3"], stdin=BIG, timeout=20).exit_code == 3


def test_closing_flushes_what_was_sent_and_frees_all(api: FakeApi, kube: KubeClient) -> None:
    got: list[bytes] = []
    done = threading.Event()

    def command(session: Exec) -> None:
        got.extend(session.input())
        done.set()

    api.commands["sink"] = command
    stream = kube.open_exec("x", "a", ["sink"])
    stream.send(b"bye\n")
    stream.close()
    stream.close()
    assert done.wait(10)
    assert got == [b"bye\n"]
    assert not stream._thread.is_alive()
    assert stream.recv(1) == b""


def test_close_wakes_a_reader_in_another_thread(api: FakeApi, kube: KubeClient) -> None:
    stream = kube.open_exec("x", "a", ["cat"])
    got: list[bytes | None] = []
    reader = threading.Thread(target=lambda: got.append(stream.recv(30)))
    reader.start()
    stream.close()
    reader.join(10)
    assert got == [b""]


def test_idle_streams_are_kept_alive_by_pings(
    api: FakeApi, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_module.ExecStream.__init__, "__kwdefaults__", {"heartbeat": 0.05})
    pinged = threading.Event()

    def command(session: Exec) -> None:
        while session.pings < 3:
            time.sleep(0.005)
        pinged.set()
        session.exit(0)

    api.commands["idle"] = command
    with kube.open_exec("x", "a", ["idle"]) as stream:
        assert stream.recv(20) == b""
    assert pinged.is_set()


def test_a_peer_that_answers_no_ping_is_given_up(
    api: FakeApi, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_module.ExecStream.__init__, "__kwdefaults__", {"heartbeat": 0.05})
    monkeypatch.setattr(exec_module, "_UNANSWERED", 0.2)
    release = threading.Event()

    def deaf(session: Exec) -> None:
        with session.lock:  # no pong gets out
            release.wait(20)

    api.commands["deaf"] = deaf
    try:
        with (
            kube.open_exec("x", "a", ["deaf"]) as stream,
            pytest.raises(StreamCut, match=r"no answer to pings"),
        ):
            stream.recv(20)
    finally:
        release.set()


def test_pings_of_the_server_are_answered(api: FakeApi, kube: KubeClient) -> None:
    def command(session: Exec) -> None:
        session.frame(9, b"are you there")
        while not any(opcode == 10 for opcode, _ in session.frames):
            time.sleep(0.002)
        session.exit(0)

    api.commands["ask"] = command
    assert kube.exec("x", "a", ["ask"], timeout=10).ok


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (403, Forbidden)], ids=["no-such-pod", "not-allowed"]
)
def test_a_refused_exec_is_explained(
    api: FakeApi, kube: KubeClient, status: int, kind: type[KubeError]
) -> None:
    message = {
        404: 'pods "a" not found',
        403: 'pods "a" is forbidden: User "j" cannot create resource "pods/exec" in API group "" in the namespace "x"',
    }[status]
    api.on("GET", ".*/exec", lambda h, r: h.fail(status, kind.__name__, message))
    with pytest.raises(kind) as caught:
        kube.open_exec("x", "a", ["true"])
    assert str(caught.value).startswith("exec true in Pod x/a: pods")
    if status == 403:
        assert 'verb "create" on "pods/exec" in namespace "x"' in str(caught.value)


def test_a_busy_server_is_asked_again_for_an_exec(api: FakeApi, kube: KubeClient) -> None:
    api.on("GET", ".*/exec", lambda h, r: h.fail(429, "TooManyRequests", "later", Retry_After="0"))
    api.on("GET", ".*/exec", lambda h, r: h.fail(500, "InternalError", 'container not found ("agent")'))
    api.on("GET", ".*/exec", lambda h, r: h.cut())
    assert kube.exec("x", "a", ["true"], timeout=10).ok
    assert len(api.sent("GET", ".*/exec")) == 4


def test_a_proxy_that_does_not_upgrade_is_named(api: FakeApi, kube: KubeClient) -> None:
    def plain(handler: Any, request: Any) -> None:
        handler.send_response(101)
        handler.send_header("Upgrade", "something-else")
        handler.end_headers()

    api.on("GET", ".*/exec", plain, times=99)
    with pytest.raises(KubeError, match=r"did not switch to a websocket.*proxy"):
        kube.open_exec("x", "a", ["true"])


def test_execs_and_requests_do_not_disturb_each_other(api: FakeApi, kube: KubeClient) -> None:
    """``kubernetes.stream.stream()`` fails every concurrent request of the same client; this must fail none."""
    api.put("/api/v1/namespaces/x/pods/a", {})
    failures: list[str] = []
    counts = {"get": 0, "exec": 0}
    until = time.monotonic() + 1.5

    def repeat(name: str, act: Callable[[], object]) -> None:
        while time.monotonic() < until:
            try:
                act()
                counts[name] += 1
            except Exception as error:
                failures.append(f"{name}: {error!r}")

    def get() -> None:
        assert kube.get("v1", "Pod", "a", "x")["kind"] == "Pod"

    def run() -> None:
        assert kube.exec("x", "a", ["cat"], stdin=b"ping", timeout=10).stdout == b"ping"

    threads = [threading.Thread(target=repeat, args=args) for args in [("get", get), ("exec", run)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert min(counts.values()) > 20, counts
    assert kube.get("v1", "Pod", "a", "x"), "nor is the client broken afterwards"


def test_many_streams_are_open_at_once(api: FakeApi, kube: KubeClient) -> None:
    streams = [kube.open_exec("x", f"p{number}", ["cat"]) for number in range(40)]
    try:
        for number, stream in enumerate(streams):
            stream.send(f"{number}".encode())
        assert [stream.recv(10) for stream in streams] == [f"{number}".encode() for number in range(40)]
    finally:
        for stream in streams:
            stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cniconformance exec")]


def test_the_status_on_the_error_channel_is_read() -> None:
    def failure(**details: Any) -> bytes:
        return json.dumps({"status": "Failure", "message": "no", **details}).encode()

    code = {"details": {"causes": [{"reason": "ExitCode", "message": "137"}]}}
    assert exit_status(b'{"status":"Success"}') == (0, "")
    assert exit_status(failure(**code)) == (137, "no")
    assert exit_status(failure()) == (None, "no")
    assert exit_status(failure(details={"causes": [{"reason": "ExitCode", "message": "x"}]})) == (None, "no")
    assert exit_status(b"runtime says no") == (None, "runtime says no")
    assert str(Call("exec", "true in Pod x/a")) == "exec true in Pod x/a"
